(** Reward maximisation with KL control, Eq. (12): its maximiser, and its meeting with DPO. *)

From Coq Require Import Reals Lra Lia.
From pbde Require Import definitions finite_sums divergence identifiability optimal_policy.
Open Scope R_scope.

Lemma policy_13_positive n beta r pi_pre :
  (0 < n)%nat -> positive n pi_pre -> positive_distribution n (policy_13 n beta r pi_pre).
Proof.
  intros Hn Hpre. apply normalise_positive_distribution; [exact Hn|].
  intros x Hx. apply Rmult_lt_0_compat; [now apply Hpre|apply exp_pos].
Qed.

(** The objective of Eq. (12) is a KL divergence in disguise; Z is the normaliser of Eq. (13).
    The policy may have zeros. *)
Theorem equation_12_is_kl : forall n beta r pi_pre pi,
  0 < beta -> positive n pi_pre -> distribution n pi ->
  kl_control n beta r pi_pre pi =
  - beta * kl_divergence n pi (policy_13 n beta r pi_pre)
  + beta * ln (Σ x < n, pi_pre x * exp (r x / beta)).
Proof.
  intros n beta r pi_pre pi Hb Hpre [Hpi Hpi1].
  assert (Hn : (0 < n)%nat) by (exact (normalised_support_nonempty n pi Hpi1)).
  unfold kl_control, kl_divergence, policy_13, normalise.
  set (Z := Σ x < n, pi_pre x * exp (r x / beta)).
  assert (HZ : 0 < Z).
  { apply sum_positive; [exact Hn|]. intros x Hx.
    apply Rmult_lt_0_compat; [now apply Hpre|apply exp_pos]. }
  rewrite <- (Rmult_1_r (beta * ln Z)), <- Hpi1, <- !sum_scale, <- sum_minus, <- sum_plus.
  apply sum_ext. intros x Hx. specialize (Hpre x Hx). pose proof (exp_pos (r x / beta)).
  destruct (Hpi x Hx) as [Hx0|<-]; [|ring].
  assert (0 < pi_pre x * exp (r x / beta)) by (now apply Rmult_lt_0_compat).
  rewrite !ln_div by (try assumption; now apply Rdiv_lt_0_compat).
  rewrite ln_mult, ln_exp by assumption. field. lra.
Qed.

(** Eq. (13) is the unique maximiser of Eq. (12) over all distributions, also those with zeros.
    The paper cites it as known; π_pre need not be normalised. *)
Theorem equation_13 : forall n beta r pi_pre pi,
  0 < beta -> (0 < n)%nat -> positive n pi_pre ->
  (maximises_over (distribution n) (kl_control n beta r pi_pre) pi <->
   for_all x < n, pi x = policy_13 n beta r pi_pre x).
Proof.
  intros n beta r pi_pre pi Hb Hn Hpre.
  pose proof (policy_13_positive n beta r pi_pre Hn Hpre) as Hopt.
  pose proof (positive_is_distribution n _ Hopt) as Hopt'.
  assert (Hself : kl_divergence n (policy_13 n beta r pi_pre) (policy_13 n beta r pi_pre) = 0).
  { now apply kl_divergence_zero. }
  split.
  - intros [Hpi H]. apply kl_divergence_zero; auto. specialize (H _ Hopt').
    rewrite !equation_12_is_kl, Hself in H by assumption.
    pose proof (kl_divergence_nonneg n _ _ Hpi Hopt).
    apply Rle_antisym; [|assumption].
    apply (Rmult_le_reg_l beta); [exact Hb|]. lra.
  - intros E.
    assert (Hpi : distribution n pi).
    { destruct Hopt' as [H0 H1]. split; [intros x Hx; rewrite (E x Hx); now apply H0|].
      rewrite <- H1. now apply sum_ext. }
    split; [exact Hpi|]. intros pi' Hpi'.
    rewrite !equation_12_is_kl by assumption.
    rewrite (proj2 (kl_divergence_zero n pi _ Hpi Hopt) E).
    pose proof (kl_divergence_nonneg n _ _ Hpi' Hopt).
    assert (0 <= beta * kl_divergence n pi' (policy_13 n beta r pi_pre))
      by (apply Rmult_le_pos; lra).
    lra.
Qed.

(** The two stages of RLHF under a Luce annotator, a reward by Theorem 1 and then a policy by
    Eq. (12), end where DPO ends (Eq. 16), whatever additive constant the reward has. *)
Theorem rlhf_is_dpo : forall n q beta pi_pre p r pi,
  nonnegative_pairs n q -> connected n q -> 0 < beta ->
  positive n pi_pre -> positive_distribution n p ->
  minimises (fun r => expected_kl n q (luce p) (preference r)) r ->
  (maximises_over (distribution n) (kl_control n beta r pi_pre) pi <->
   minimises_over (positive_distribution n)
     (policy_loss n q (luce p) (fun _ => beta) (fun x => - beta * ln (pi_pre x))) pi).
Proof.
  intros n q beta pi_pre p r pi Hq Hconn Hb Hpre Hp Hr.
  assert (Hn : (0 < n)%nat) by (exact (normalised_support_nonempty n p (proj2 Hp))).
  apply theorem_1 in Hr; [|assumption|assumption|apply Hp]. destruct Hr as [c [Hc Hr]].
  rewrite equation_13, equation_16 by assumption.
  assert (E : for_all x < n, policy_13 n beta r pi_pre x = policy_16 n beta pi_pre p x).
  { apply normalise_scale with (c := exp (ln c / beta)); [apply exp_pos|exact Hn| |].
    - intros x Hx. apply Rmult_lt_0_compat; [now apply Hpre|apply exp_pos].
    - intros x Hx. destruct Hp as [Hp _].
      rewrite <- (ln_exp (r x)), (Hr x Hx), ln_mult by auto. unfold Rpower.
      replace ((ln c + ln (p x)) / beta) with (ln c / beta + 1 / beta * ln (p x))
        by (field; lra).
      rewrite exp_plus. ring. }
  split; intros H x Hx; rewrite (H x Hx); [|symmetry]; now apply E.
Qed.
