(** IPO, Eq. (22) and (23), when both members of a pair are drawn independently from [mu].

    The paper says that Eq. (22) "has the form" of Eq. (23). The two theorems at the end make
    this precise: for such pairs and [mu] > 0 they have the same unique optimum. *)

From Coq Require Import Reals Lra Lia.
From pbde Require Import definitions finite_sums divergence kl_control.
Open Scope R_scope.

(** For an antisymmetric matrix whose rows sum to zero, the pair sum of differences vanishes. *)
Lemma antisymmetric_pairing n (K : nat -> nat -> R) s :
  (for_all A < n, for_all B < n, K A B = - K B A) ->
  (for_all A < n, sum n (K A) = 0) ->
  Σ A < n, Σ B < n, K A B * (s A - s B) = 0.
Proof.
  intros Hanti Hrow.
  assert (H1 : Σ A < n, Σ B < n, K A B * s A = 0).
  { apply sum_zero. intros A HA. rewrite sum_scale_right, Hrow by exact HA. ring. }
  assert (H2 : Σ A < n, Σ B < n, K A B * s B = 0).
  { rewrite sum_swap. apply sum_zero. intros B HB. rewrite sum_scale_right.
    rewrite (sum_ext n _ (fun A => -1 * K B A)) by (intros A HA; rewrite Hanti by assumption; ring).
    rewrite sum_scale, Hrow by exact HB. ring. }
  rewrite (pairs_ext n _ (fun A B => K A B * s A - K A B * s B)) by (intros; ring).
  rewrite pairs_minus, H1, H2. ring.
Qed.

(** Completing the square: the loss exceeds that of the score E_B[Prob(x preferred to B)] / tau
    by a weighted sum of squares. *)
Theorem ipo_completed_square : forall n tau mu P s,
  0 < tau -> distribution n mu -> complementary n P ->
  let t := ipo_score n tau mu P in
  ipo_loss n tau mu P s =
  ipo_loss n tau mu P t + Σ A < n, Σ B < n, mu A * mu B * ((s A - s B) - (t A - t B)) ^ 2.
Proof.
  intros n tau mu P s Htau [Hmu Hmu1] HP t.
  set (K := fun A B => mu A * mu B * ((2 * P A B - 1) / (2 * tau) - (t A - t B))).
  assert (Hanti : for_all A < n, for_all B < n, K A B = - K B A).
  { intros A HA B HB. unfold K. assert (E : P B A = 1 - P A B) by (rewrite <- (HP A HA B HB); ring).
    rewrite E. field. lra. }
  assert (Hmean : Σ B < n, mu B * t B = 1 / (2 * tau)).
  { assert (E : Σ A < n, Σ B < n, mu A * mu B * P A B = 1 / 2).
    { enough (Σ A < n, Σ B < n, mu A * mu B * P A B + Σ A < n, Σ B < n, mu A * mu B * P A B = 1)
        by lra.
      rewrite (sum_swap n n (fun A B => mu A * mu B * P A B)) at 2. rewrite <- pairs_plus.
      rewrite (pairs_ext n _ (fun A B => mu A * mu B)).
      - rewrite (sum_ext n _ mu); [exact Hmu1|]. intros A HA. rewrite sum_scale, Hmu1. ring.
      - intros A HA B HB. transitivity (mu A * mu B * (P A B + P B A)); [ring|].
        rewrite HP by assumption. ring. }
    transitivity ((Σ A < n, Σ B < n, mu A * mu B * P A B) / tau); [|rewrite E; field; lra].
    unfold Rdiv. rewrite <- sum_scale_right. apply sum_ext. intros A HA.
    unfold t, ipo_score, expected_preference, Rdiv.
    rewrite <- Rmult_assoc, <- sum_scale. f_equal. apply sum_ext. intros; ring. }
  assert (Hrow : for_all A < n, sum n (K A) = 0).
  { intros A HA. unfold K.
    rewrite (sum_ext n _ (fun B => mu A * (/ tau * (mu B * P A B)
               - (/ (2 * tau) + t A) * mu B + mu B * t B))) by (intros; field; lra).
    rewrite sum_scale, sum_plus, sum_minus, !sum_scale, Hmean, Hmu1.
    unfold t, ipo_score, expected_preference. field. lra. }
  assert (Hdiff : ipo_loss n tau mu P s - ipo_loss n tau mu P t -
                  Σ A < n, Σ B < n, mu A * mu B * ((s A - s B) - (t A - t B)) ^ 2 = 0).
  { unfold ipo_loss. rewrite <- !pairs_minus.
    rewrite (pairs_ext n _ (fun A B => -2 * (K A B * (s A - s B) - K A B * (t A - t B)))).
    - rewrite pairs_scale, pairs_minus, !antisymmetric_pairing by assumption. ring.
    - intros A HA B HB. unfold K. field. lra. }
  lra.
Qed.

Lemma ipo_score_minimises n tau mu P s :
  0 < tau -> distribution n mu -> complementary n P ->
  ipo_loss n tau mu P (ipo_score n tau mu P) <= ipo_loss n tau mu P s.
Proof.
  intros Htau Hmu HP. rewrite (ipo_completed_square n tau mu P s) by assumption.
  enough (0 <= Σ A < n, Σ B < n, mu A * mu B *
    ((s A - s B) - (ipo_score n tau mu P A - ipo_score n tau mu P B)) ^ 2) by lra.
  destruct Hmu as [Hmu _]. apply pairs_nonneg. intros A HA B HB.
  apply Rmult_le_pos; [apply Rmult_le_pos; now apply Hmu|apply pow2_ge_0].
Qed.

Lemma policy_ipo_weights n tau mu P pi_pre :
  positive n pi_pre ->
  positive n (fun x => pi_pre x * exp (ipo_score n tau mu P x)).
Proof. intros Hpre x Hx. apply Rmult_lt_0_compat; [now apply Hpre|apply exp_pos]. Qed.

Lemma ipo_loss_shift n tau mu P s t c :
  (for_all x < n, s x = t x + c) -> ipo_loss n tau mu P s = ipo_loss n tau mu P t.
Proof.
  intros H. unfold ipo_loss. apply pairs_ext. intros A HA B HB.
  rewrite (H A HA), (H B HB). ring.
Qed.

Lemma policy_ipo_score n tau mu P pi_pre pi :
  (0 < n)%nat -> positive n pi_pre ->
  (for_all x < n, pi x = policy_ipo n tau mu P pi_pre x) ->
  exists c, for_all x < n, log_ratio pi pi_pre x = ipo_score n tau mu P x + c.
Proof.
  intros Hn Hpre H.
  pose proof (sum_positive n _ Hn (policy_ipo_weights n tau mu P pi_pre Hpre)) as HZ.
  exists (- ln (Σ x < n, pi_pre x * exp (ipo_score n tau mu P x))).
  intros x Hx. unfold log_ratio. rewrite (H x Hx). unfold policy_ipo, normalise.
  pose proof (exp_pos (ipo_score n tau mu P x)). specialize (Hpre x Hx).
  assert (0 < pi_pre x * exp (ipo_score n tau mu P x)) by (now apply Rmult_lt_0_compat).
  rewrite !ln_div by (try assumption; now apply Rdiv_lt_0_compat).
  rewrite ln_mult, ln_exp by assumption. ring.
Qed.

(** IPO's optimum in closed form, π ∝ π_pre exp(E_B[Prob(x preferred to B)] / τ): a minimiser of
    Eq. (23) for every [mu]. Any annotator will do, not only one of the Bradley-Terry form. *)
Theorem ipo_closed_form_minimises : forall n tau mu P pi_pre,
  0 < tau -> distribution n mu -> complementary n P -> positive n pi_pre ->
  minimises_over (positive_distribution n) (ipo_policy_loss n tau mu P pi_pre)
    (policy_ipo n tau mu P pi_pre).
Proof.
  intros n tau mu P pi_pre Htau Hmu HP Hpre.
  pose proof (normalised_support_nonempty n mu (proj2 Hmu)) as Hn.
  split; [apply normalise_positive_distribution; auto using policy_ipo_weights|].
  intros pi _. unfold ipo_policy_loss.
  destruct (policy_ipo_score n tau mu P pi_pre (policy_ipo n tau mu P pi_pre) Hn Hpre) as [c Hc];
    [reflexivity|].
  rewrite (ipo_loss_shift n tau mu P _ _ c Hc). now apply ipo_score_minimises.
Qed.

(** If [mu] is positive it is the only one. *)
Theorem ipo_closed_form : forall n tau mu P pi_pre pi,
  0 < tau -> positive_distribution n mu -> complementary n P -> positive n pi_pre ->
  (minimises_over (positive_distribution n) (ipo_policy_loss n tau mu P pi_pre) pi <->
   for_all x < n, pi x = policy_ipo n tau mu P pi_pre x).
Proof.
  intros n tau mu P pi_pre pi Htau Hmu HP Hpre.
  pose proof (positive_is_distribution n mu Hmu) as Hmu'.
  pose proof (normalised_support_nonempty n mu (proj2 Hmu)) as Hn.
  destruct (ipo_closed_form_minimises n tau mu P pi_pre Htau Hmu' HP Hpre) as [[Hpos H1] Hmin].
  set (t := ipo_score n tau mu P).
  destruct (policy_ipo_score n tau mu P pi_pre (policy_ipo n tau mu P pi_pre) Hn Hpre) as [c Hc];
    [reflexivity|].
  split.
  - intros [[Hpi Hpi1] H].
    specialize (H _ (conj Hpos H1)). unfold ipo_policy_loss in H.
    rewrite (ipo_loss_shift n tau mu P _ _ c Hc) in H.
    rewrite (ipo_completed_square n tau mu P (log_ratio pi pi_pre)) in H by assumption.
    fold t in H. set (s := log_ratio pi pi_pre) in *.
    assert (Hnn : for_all A < n, for_all B < n,
              0 <= mu A * mu B * ((s A - s B) - (t A - t B)) ^ 2).
    { intros A HA B HB. apply Rmult_le_pos; [|apply pow2_ge_0].
      apply Rmult_le_pos; left; now apply Hmu. }
    assert (H0 : Σ A < n, Σ B < n, mu A * mu B * ((s A - s B) - (t A - t B)) ^ 2 = 0).
    { pose proof (pairs_nonneg n _ Hnn). lra. }
    pose proof (pairs_nonneg_zero n _ Hnn H0) as Hz.
    apply proportional_normalised with (c := exp (s 0%nat - t 0%nat)); [|exact Hpi1].
    intros x Hx. specialize (Hz x Hx 0%nat Hn).
    destruct Hmu as [Hmu _]. specialize (Hmu x Hx) as Hmx. specialize (Hmu 0%nat Hn) as Hm0.
    assert (Hw : mu x * mu 0%nat <> 0) by (apply Rgt_not_eq, Rmult_lt_0_compat; assumption).
    destruct (Rmult_integral _ _ Hz) as [|Hd]; [contradiction|].
    simpl in Hd. rewrite Rmult_1_r in Hd.
    assert (E : s x = s 0%nat - t 0%nat + t x) by (destruct (Rmult_integral _ _ Hd); lra).
    change (ipo_score n tau mu P x) with (t x).
    transitivity (pi_pre x * exp (s x)); [|rewrite E, exp_plus; ring].
    unfold s, log_ratio. specialize (Hpi x Hx). specialize (Hpre x Hx).
    rewrite exp_ln by (now apply Rdiv_lt_0_compat). field. lra.
  - intros H. split.
    + split; [intros x Hx; rewrite (H x Hx); now apply Hpos|rewrite <- H1; now apply sum_ext].
    + intros pi' Hpi'. unfold ipo_policy_loss.
      destruct (policy_ipo_score n tau mu P pi_pre pi Hn Hpre H) as [c' Hc'].
      rewrite (ipo_loss_shift n tau mu P _ _ c' Hc'). now apply ipo_score_minimises.
Qed.

(** The same policy is the unique maximiser of Eq. (22), also where [mu] is zero: there Eq. (22)
    determines π and Eq. (23) does not. *)
Theorem equation_22_optimum : forall n tau mu P pi_pre pi,
  0 < tau -> (0 < n)%nat -> positive n pi_pre ->
  (maximises_over (distribution n) (psi_po_identity n tau mu P pi_pre) pi <->
   for_all x < n, pi x = policy_ipo n tau mu P pi_pre x).
Proof.
  intros n tau mu P pi_pre pi Htau Hn Hpre.
  rewrite <- (equation_13 n tau (expected_preference n mu P) pi_pre pi) by assumption.
  assert (E : forall pi', psi_po_identity n tau mu P pi_pre pi' =
                          kl_control n tau (expected_preference n mu P) pi_pre pi').
  { intros pi'. unfold psi_po_identity, kl_control. f_equal. apply sum_ext. intros A _.
    unfold expected_preference. rewrite <- sum_scale. apply sum_ext. intros; ring. }
  unfold maximises_over. split; intros [Hpi H]; (split; [exact Hpi|]);
    intros y Hy; specialize (H y Hy); rewrite !E in *; exact H.
Qed.
