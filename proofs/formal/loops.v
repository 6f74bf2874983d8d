(** The closed loop of section 2.2 for IPO: [policy_ipo n tau pi P pi] is the policy of the next
    round when pairs are drawn from [pi] and the reference is [pi], the last policy;
    [policy_ipo n tau pi P pi_pre] when the reference stays at [pi_pre]. *)

From Coq Require Import Reals Lra Lia.
From pbde Require Import definitions finite_sums divergence kl_control ipo.
Open Scope R_scope.

(** What all win against each other, together, is one. *)
Lemma expected_preferences_sum n mu nu P :
  complementary n P -> sum n mu = 1 -> sum n nu = 1 ->
  (Σ x < n, mu x * expected_preference n nu P x) + (Σ x < n, nu x * expected_preference n mu P x) = 1.
Proof.
  intros HP Hmu Hnu. unfold expected_preference.
  rewrite (sum_ext n _ (fun x => Σ B < n, mu x * (nu B * P x B)))
    by (intros; now rewrite sum_scale).
  rewrite (sum_ext n (fun x => nu x * _) (fun x => Σ B < n, nu x * (mu B * P x B)))
    by (intros; now rewrite sum_scale).
  rewrite (sum_swap n n (fun x B => nu x * (mu B * P x B))), <- sum_plus.
  rewrite (sum_ext n _ (fun x => mu x * 1)).
  - rewrite sum_scale_right, Hmu. ring.
  - intros x Hx. rewrite <- sum_plus.
    rewrite (sum_ext n _ (fun B => mu x * nu B)).
    + rewrite sum_scale, Hnu. ring.
    + intros B HB. rewrite <- (Rmult_1_r (mu x * nu B)), <- (HP x Hx B HB). ring.
Qed.

Lemma own_preferences_half n mu P :
  complementary n P -> sum n mu = 1 -> Σ x < n, mu x * expected_preference n mu P x = 1 / 2.
Proof. intros HP Hmu. pose proof (expected_preferences_sum n mu mu P HP Hmu Hmu). lra. Qed.

Lemma positive_sum_nonempty n (p : nat -> R) : sum n p = 1 -> (0 < n)%nat.
Proof. destruct n; simpl; intros; [lra|lia]. Qed.

(** A round leaves a policy where it is if and only if every outcome wins half. *)
Theorem loop_rests : forall n tau P pi,
  0 < tau -> complementary n P -> positive_distribution n pi ->
  ((for_all x < n, policy_ipo n tau pi P pi x = pi x) <->
   (for_all x < n, expected_preference n pi P x = 1 / 2)).
Proof.
  intros n tau P pi Htau HP [Hpi H1]. pose proof (positive_sum_nonempty n pi H1) as Hn.
  pose proof (sum_positive n _ Hn (policy_ipo_weights n tau pi P pi Hpi)) as HZ.
  set (Z := Σ x < n, pi x * exp (ipo_score n tau pi P x)) in *.
  pose proof (own_preferences_half n pi P HP H1) as Hhalf. split; intros H.
  - assert (E : for_all x < n, expected_preference n pi P x = tau * ln Z).
    { intros x Hx. specialize (H x Hx). unfold policy_ipo, normalise in H. fold Z in H.
      assert (HE : exp (ipo_score n tau pi P x) = Z).
      { apply (Rmult_eq_reg_l (pi x)); [|specialize (Hpi x Hx); lra].
        rewrite <- H at 2. field. lra. }
      rewrite <- HE, ln_exp. unfold ipo_score. field. lra. }
    assert (tau * ln Z = 1 / 2).
    { rewrite <- Hhalf, (sum_ext n _ (fun x => pi x * (tau * ln Z)))
        by (intros x Hx; now rewrite E).
      rewrite sum_scale_right, H1. ring. }
    intros x Hx. now rewrite E.
  - intros x Hx. unfold policy_ipo, normalise. fold Z.
    assert (HE : for_all y < n, exp (ipo_score n tau pi P y) = exp (1 / 2 / tau))
      by (intros y Hy; unfold ipo_score; now rewrite H).
    assert (HZ1 : Z = exp (1 / 2 / tau)).
    { unfold Z. rewrite (sum_ext n _ (fun y => pi y * exp (1 / 2 / tau)))
        by (intros y Hy; now rewrite HE).
      rewrite sum_scale_right, H1. ring. }
    rewrite HE, HZ1 by exact Hx. pose proof (exp_pos (1 / 2 / tau)). field. lra.
Qed.

(** From the last policy the loop never comes nearer to a policy against which all win half. *)
Theorem loop_moves_away : forall n tau P rho pi,
  0 < tau -> complementary n P -> positive_distribution n rho -> positive_distribution n pi ->
  (for_all x < n, expected_preference n rho P x = 1 / 2) ->
  kl_divergence n rho pi <= kl_divergence n rho (policy_ipo n tau pi P pi).
Proof.
  intros n tau P rho pi Htau HP [Hrho Hrho1] [Hpi Hpi1] Hlevel.
  pose proof (positive_sum_nonempty n pi Hpi1) as Hn.
  pose proof (sum_positive n _ Hn (policy_ipo_weights n tau pi P pi Hpi)) as HZ.
  set (Z := Σ x < n, pi x * exp (ipo_score n tau pi P x)) in *.
  assert (Hr : Σ x < n, rho x * expected_preference n pi P x = 1 / 2).
  { pose proof (expected_preferences_sum n rho pi P HP Hrho1 Hpi1) as T.
    rewrite (sum_ext n (fun x => pi x * _) (fun x => pi x * (1 / 2))) in T
      by (intros x Hx; now rewrite Hlevel).
    rewrite sum_scale_right, Hpi1 in T. lra. }
  assert (HlnZ : 1 / 2 / tau <= ln Z).
  { assert (HZe : exp (1 / 2 / tau) <= Z).
    { pose proof (exp_pos (1 / 2 / tau)).
      assert (T : Σ x < n, pi x * (exp (1 / 2 / tau) * (1 + (ipo_score n tau pi P x - 1 / 2 / tau))) <= Z).
      { apply sum_le. intros x Hx. apply Rmult_le_compat_l; [left; now apply Hpi|].
        replace (exp (ipo_score n tau pi P x))
          with (exp (1 / 2 / tau) * exp (ipo_score n tau pi P x - 1 / 2 / tau))
          by (rewrite <- exp_plus; f_equal; ring).
        apply Rmult_le_compat_l; [lra|]. apply exp_ineq1_le. }
      rewrite (sum_ext n _ (fun x => exp (1 / 2 / tau) * (1 - 1 / 2 / tau) * pi x
          + exp (1 / 2 / tau) / tau * (pi x * expected_preference n pi P x))) in T
        by (intros; unfold ipo_score; field; lra).
      rewrite sum_plus, !sum_scale, Hpi1, (own_preferences_half n pi P HP Hpi1) in T.
      replace (exp (1 / 2 / tau) * (1 - 1 / 2 / tau) * 1 + exp (1 / 2 / tau) / tau * (1 / 2))
        with (exp (1 / 2 / tau)) in T by (field; lra).
      exact T. }
    rewrite <- (ln_exp (1 / 2 / tau)). destruct HZe as [HZe| <-]; [|right; reflexivity].
    left. apply ln_increasing; [apply exp_pos|exact HZe]. }
  assert (E : kl_divergence n rho (policy_ipo n tau pi P pi) - kl_divergence n rho pi
              = ln Z - 1 / 2 / tau).
  { unfold kl_divergence. rewrite <- sum_minus.
    rewrite (sum_ext n _ (fun x => ln Z * rho x - / tau * (rho x * expected_preference n pi P x))).
    - rewrite sum_minus, !sum_scale, Hrho1, Hr. field. lra.
    - intros x Hx. unfold policy_ipo, normalise. fold Z.
      pose proof (exp_pos (ipo_score n tau pi P x)). specialize (Hrho x Hx). specialize (Hpi x Hx).
      assert (0 < pi x * exp (ipo_score n tau pi P x)) by (now apply Rmult_lt_0_compat).
      rewrite !ln_div by (try assumption; now apply Rdiv_lt_0_compat).
      rewrite ln_mult, ln_exp by assumption. unfold ipo_score. field. lra. }
  lra.
Qed.

Lemma log_monotone a b : 0 < a -> 0 < b -> 0 <= (a - b) * (ln a - ln b).
Proof.
  intros Ha Hb. destruct (Rtotal_order a b) as [H|[->|H]]; [|right; ring|].
  - pose proof (ln_increasing a b Ha H). replace ((a - b) * (ln a - ln b)) with ((b - a) * (ln b - ln a)) by ring.
    apply Rmult_le_pos; lra.
  - pose proof (ln_increasing b a Hb H). apply Rmult_le_pos; lra.
Qed.

(** Tied to the first reference it rests at one policy at most, for every τ and every annotator. *)
Theorem tied_loop_rests_once : forall n tau P pi_pre pi rho,
  0 < tau -> complementary n P -> positive n pi_pre ->
  positive_distribution n pi -> positive_distribution n rho ->
  (for_all x < n, pi x = policy_ipo n tau pi P pi_pre x) ->
  (for_all x < n, rho x = policy_ipo n tau rho P pi_pre x) ->
  for_all x < n, pi x = rho x.
Proof.
  intros n tau P pi_pre pi rho Htau HP Hpre [Hpi Hpi1] [Hrho Hrho1] Epi Erho.
  pose proof (positive_sum_nonempty n pi Hpi1) as Hn.
  destruct (policy_ipo_score n tau pi P pi_pre pi Hn Hpre Epi) as [c Hc].
  destruct (policy_ipo_score n tau rho P pi_pre rho Hn Hpre Erho) as [d Hd].
  set (F := fun x => (pi x - rho x) * (ln (pi x) - ln (rho x))).
  assert (HF : for_all x < n, 0 <= F x)
    by (intros x Hx; apply log_monotone; [now apply Hpi|now apply Hrho]).
  assert (HS : sum n F = 0).
  { rewrite (sum_ext n F (fun x => / tau * (pi x * expected_preference n pi P x)
        - / tau * (rho x * expected_preference n pi P x)
        - / tau * (pi x * expected_preference n rho P x)
        + / tau * (rho x * expected_preference n rho P x)
        + ((c - d) * pi x - (c - d) * rho x))).
    - rewrite !sum_plus, !sum_minus, !sum_scale, Hpi1, Hrho1.
      rewrite (own_preferences_half n pi P HP Hpi1), (own_preferences_half n rho P HP Hrho1).
      pose proof (expected_preferences_sum n rho pi P HP Hrho1 Hpi1) as T.
      replace (Σ x < n, rho x * expected_preference n pi P x)
        with (1 - Σ x < n, pi x * expected_preference n rho P x) by lra.
      field. lra.
    - intros x Hx. specialize (Hc x Hx). specialize (Hd x Hx). unfold log_ratio in Hc, Hd.
      rewrite ln_div in Hc, Hd by (try (now apply Hpi); try (now apply Hrho); now apply Hpre).
      unfold F. replace (ln (pi x)) with (ln (pi_pre x) + ipo_score n tau pi P x + c) by lra.
      replace (ln (rho x)) with (ln (pi_pre x) + ipo_score n tau rho P x + d) by lra.
      unfold ipo_score. field. lra. }
  intros x Hx. pose proof (sum_nonneg_zero n F HF HS x Hx) as H0. unfold F in H0.
  destruct (Rmult_integral _ _ H0) as [H|H]; [lra|].
  apply ln_inv; [now apply Hpi|now apply Hrho|lra].
Qed.
