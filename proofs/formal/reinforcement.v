(** The policy gradient, Eq. (3) to (5); what KL control keeps; ΨPO for any Ψ. *)

From Coq Require Import Reals Lra Lia.
From pbde Require Import definitions finite_sums divergence identifiability optimal_policy
  kl_control ipo.
Open Scope R_scope.

Lemma sum_derivable n (F : nat -> R -> R) (D : nat -> R) t :
  (for_all x < n, derivable_pt_lim (F x) t (D x)) ->
  derivable_pt_lim (fun s => Σ x < n, F x s) t (sum n D).
Proof.
  induction n as [|n IH]; intros H; simpl.
  - apply derivable_pt_lim_const.
  - apply (derivable_pt_lim_plus (fun s => Σ x < n, F x s) (F n)); [apply IH; intros|]; apply H; lia.
Qed.

Lemma derivable_ext (f g : R -> R) t l :
  (forall s, f s = g s) -> derivable_pt_lim f t l -> derivable_pt_lim g t l.
Proof.
  intros E H eps Heps. destruct (H eps Heps) as [d Hd]. exists d. intros h Hh Hd'.
  rewrite <- !E. now apply Hd.
Qed.

(** A family of positive policies along one parameter, and the derivatives of its log-probabilities. *)
Lemma policy_derivable n (pi : R -> nat -> R) (score : nat -> R) t :
  (forall s, positive n (pi s)) ->
  (for_all x < n, derivable_pt_lim (fun s => ln (pi s x)) t (score x)) ->
  for_all x < n, derivable_pt_lim (fun s => pi s x) t (pi t x * score x).
Proof.
  intros Hpi H x Hx. apply (derivable_ext (fun s => exp (ln (pi s x)))).
  - intros s. apply exp_ln. now apply Hpi.
  - rewrite <- (exp_ln (pi t x)) at 1 by (now apply Hpi).
    apply (derivable_pt_lim_comp (fun s => ln (pi s x)) exp); [now apply H|].
    apply derivable_pt_lim_exp.
Qed.

(** Eq. (4), along any parameter of any differentiable family. *)
Theorem equation_4 : forall n r (pi : R -> nat -> R) (score : nat -> R) t,
  (forall s, positive n (pi s)) ->
  (for_all x < n, derivable_pt_lim (fun s => ln (pi s x)) t (score x)) ->
  derivable_pt_lim (fun s => expected_reward n r (pi s)) t
    (Σ x < n, pi t x * (r x * score x)).
Proof.
  intros n r pi score t Hpi H. unfold expected_reward.
  rewrite (sum_ext n _ (fun x => pi t x * score x * r x + pi t x * 0)) by (intros; ring).
  apply (sum_derivable n (fun x s => pi s x * r x)). intros x Hx.
  apply (derivable_pt_lim_mult (fun s => pi s x) (fun _ => r x)).
  - now apply policy_derivable with (n := n).
  - apply derivable_pt_lim_const.
Qed.

(** The expected score is zero: it is the derivative of the sum of all probabilities. *)
Lemma expected_score_zero n (pi : R -> nat -> R) (score : nat -> R) t :
  (forall s, positive_distribution n (pi s)) ->
  (for_all x < n, derivable_pt_lim (fun s => ln (pi s x)) t (score x)) ->
  Σ x < n, pi t x * score x = 0.
Proof.
  intros Hpi H. apply (uniqueness_limite (fun s => sum n (pi s)) t).
  - apply (sum_derivable n (fun x s => pi s x)). apply policy_derivable; [|exact H].
    intros s. apply Hpi.
  - apply (derivable_ext (fct_cte 1)); [|apply derivable_pt_lim_const].
    intros s. symmetry. apply Hpi.
Qed.

(** Eq. (5): the derivative of Eq. (12). The penalty's own log π adds nothing. *)
Theorem equation_5 : forall n beta r pi_pre (pi : R -> nat -> R) (score : nat -> R) t,
  positive n pi_pre -> (forall s, positive_distribution n (pi s)) ->
  (for_all x < n, derivable_pt_lim (fun s => ln (pi s x)) t (score x)) ->
  derivable_pt_lim (fun s => kl_control n beta r pi_pre (pi s)) t
    (Σ x < n, pi t x * ((r x - beta * ln (pi t x / pi_pre x)) * score x)).
Proof.
  intros n beta r pi_pre pi score t Hpre Hpi H.
  assert (Hpos : forall s, positive n (pi s)) by (intros s; apply Hpi).
  assert (Hkl : derivable_pt_lim (fun s => kl_divergence n (pi s) pi_pre) t
                  (Σ x < n, pi t x * (ln (pi t x / pi_pre x) * score x))).
  { rewrite <- (Rplus_0_r (sum n _)), <- (expected_score_zero n pi score t Hpi H), <- sum_plus.
    unfold kl_divergence.
    rewrite (sum_ext n _ (fun x => pi t x * score x * ln (pi t x / pi_pre x)
                                   + pi t x * (score x - 0))) by (intros; ring).
    apply (sum_derivable n (fun x s => pi s x * ln (pi s x / pi_pre x))). intros x Hx.
    apply (derivable_pt_lim_mult (fun s => pi s x) (fun s => ln (pi s x / pi_pre x))).
    - now apply policy_derivable with (n := n).
    - apply (derivable_ext (fun s => ln (pi s x) - ln (pi_pre x))).
      + intros s. symmetry. apply ln_div; [now apply Hpos|now apply Hpre].
      + apply (derivable_pt_lim_minus (fun s => ln (pi s x)) (fun _ => ln (pi_pre x)));
          [now apply H|apply derivable_pt_lim_const]. }
  unfold kl_control.
  rewrite (sum_ext n _ (fun x => pi t x * (r x * score x)
             - beta * (pi t x * (ln (pi t x / pi_pre x) * score x)))) by (intros; ring).
  rewrite sum_minus, sum_scale.
  apply (derivable_pt_lim_minus (fun s => expected_reward n r (pi s))
           (fun s => beta * kl_divergence n (pi s) pi_pre)).
  - now apply equation_4.
  - apply derivable_pt_lim_scal. exact Hkl.
Qed.

(** KL control against forgetting: where rewards lie between m and M, no log-ratio of Eq. (13) to
    the reference leaves [-(M - m) / β, (M - m) / β]. *)
Theorem kl_control_keeps_ratios : forall n beta r pi_pre m M,
  0 < beta -> positive_distribution n pi_pre -> (for_all x < n, m <= r x <= M) ->
  for_all x < n, Rabs (ln (policy_13 n beta r pi_pre x / pi_pre x)) <= (M - m) / beta.
Proof.
  intros n beta r pi_pre m M Hb [Hpre Hpre1] Hr x Hx.
  assert (Hn : (0 < n)%nat) by lia.
  assert (Hinv : 0 < / beta) by (now apply Rinv_0_lt_compat).
  assert (Hmono : for_all y < n, exp (m / beta) <= exp (r y / beta) <= exp (M / beta)).
  { intros y Hy. specialize (Hr y Hy).
    assert (T : forall a b, a <= b -> exp (a / beta) <= exp (b / beta)).
    { intros a b [Hab| ->]; [left; apply exp_increasing; now apply Rmult_lt_compat_r|right; reflexivity]. }
    split; apply T; lra. }
  unfold policy_13, normalise. set (Z := Σ y < n, pi_pre y * exp (r y / beta)).
  assert (HZ : exp (m / beta) <= Z <= exp (M / beta)).
  { assert (E : forall c, c = Σ y < n, pi_pre y * c)
      by (intros c; rewrite sum_scale_right, Hpre1; ring).
    rewrite (E (exp (m / beta))), (E (exp (M / beta))).
    split; apply sum_le; intros y Hy; apply Rmult_le_compat_l;
      try (left; now apply Hpre); now apply Hmono. }
  pose proof (exp_pos (m / beta)). pose proof (Hpre x Hx).
  replace (pi_pre x * exp (r x / beta) / Z / pi_pre x) with (exp (r x / beta) / Z) by (field; lra).
  rewrite ln_div, ln_exp; [|apply exp_pos|lra].
  assert (T : forall u v, 0 < u -> u <= v -> ln u <= ln v).
  { intros u v Hu [Huv| ->]; [left; now apply ln_increasing|right; reflexivity]. }
  assert (HlnZ : m / beta <= ln Z <= M / beta).
  { rewrite <- (ln_exp (m / beta)), <- (ln_exp (M / beta)). split; apply T; lra. }
  assert (Hrx : m / beta <= r x / beta <= M / beta).
  { specialize (Hr x Hx). unfold Rdiv. split; apply Rmult_le_compat_r; lra. }
  apply Rabs_le. unfold Rdiv in *. lra.
Qed.

(** ΨPO (Azar et al. 2023): Eq. (22) with Ψ of the preference probability. Any Ψ has one optimum. *)
Theorem psi_po_optimum : forall n tau mu (Psi : R -> R) P pi_pre pi,
  0 < tau -> (0 < n)%nat -> positive n pi_pre ->
  (maximises_over (distribution n)
     (psi_po_identity n tau mu (fun A B => Psi (P A B)) pi_pre) pi <->
   for_all x < n, pi x = policy_ipo n tau mu (fun A B => Psi (P A B)) pi_pre x).
Proof. intros. now apply equation_22_optimum. Qed.

(** With the logit and a Luce annotator it is Eq. (16) with β = τ, whatever opponents are drawn. *)
Theorem psi_po_logit : forall n tau mu p pi_pre pi,
  0 < tau -> sum n mu = 1 -> positive n p -> positive n pi_pre ->
  (maximises_over (distribution n)
     (psi_po_identity n tau mu (fun A B => logit (luce p A B)) pi_pre) pi <->
   for_all x < n, pi x = policy_16 n tau pi_pre p x).
Proof.
  intros n tau mu p pi_pre pi Htau Hmu Hp Hpre.
  assert (Hn : (0 < n)%nat) by (exact (normalised_support_nonempty n mu Hmu)).
  rewrite psi_po_optimum by assumption.
  assert (E : for_all x < n,
            policy_ipo n tau mu (fun A B => logit (luce p A B)) pi_pre x = policy_16 n tau pi_pre p x).
  { apply normalise_scale with (c := exp (- (Σ B < n, mu B * ln (p B)) / tau)).
    - apply exp_pos.
    - exact Hn.
    - intros x Hx. apply Rmult_lt_0_compat; [now apply Hpre|apply exp_pos].
    - intros x Hx. unfold ipo_score, expected_preference, Rpower.
      rewrite (sum_ext n _ (fun B => ln (p x) * mu B - mu B * ln (p B))).
      + rewrite sum_minus, sum_scale, Hmu.
        replace ((ln (p x) * 1 - (Σ B < n, mu B * ln (p B))) / tau)
          with (- (Σ B < n, mu B * ln (p B)) / tau + 1 / tau * ln (p x)) by (field; lra).
        rewrite exp_plus. ring.
      + intros B HB. pose proof (Hp x Hx). pose proof (Hp B HB). unfold logit, luce.
        replace (p x / (p x + p B) / (1 - p x / (p x + p B))) with (p x / p B) by (field; lra).
        rewrite ln_div by assumption. ring. }
  split; intros H x Hx; rewrite (H x Hx); [|symmetry]; now apply E.
Qed.
