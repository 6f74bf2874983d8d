(** Divergences: when they are zero, and how they behave for sigma.

    Everything rests on one inequality, p log (p / s) >= p - s, with equality only for p = s. *)

From Coq Require Import Reals Lra Lia.
From pbde Require Import definitions finite_sums.
Open Scope R_scope.

(** ** The inequality *)

Lemma ln_below_tangent x : 0 < x -> x <> 1 -> ln x < x - 1.
Proof.
  intros Hx H1. assert (ln x <> 0).
  { intros E. apply H1. rewrite <- (exp_ln x Hx), E. apply exp_0. }
  pose proof (exp_ineq1 (ln x) H) as H2. rewrite exp_ln in H2 by exact Hx. lra.
Qed.

Lemma ln_div x y : 0 < x -> 0 < y -> ln (x / y) = ln x - ln y.
Proof.
  intros Hx Hy. unfold Rdiv, Rminus. rewrite ln_mult, ln_Rinv; auto using Rinv_0_lt_compat.
Qed.

Lemma kl_term_self p : 0 <= p -> p * ln (p / p) = 0.
Proof.
  intros [H|<-]; [|ring]. replace (p / p) with 1 by (field; lra). rewrite ln_1. ring.
Qed.

Lemma kl_term_strict p s : 0 <= p -> 0 < s -> p <> s -> p - s < p * ln (p / s).
Proof.
  intros [Hp|<-] Hs Hne; [|lra].
  assert (Hq : 0 < s / p) by (now apply Rdiv_lt_0_compat).
  assert (H1 : s / p <> 1).
  { intros E. apply Hne. symmetry. rewrite <- (Rmult_1_l p), <- E. field. lra. }
  pose proof (ln_below_tangent _ Hq H1) as H. rewrite ln_div in * by assumption.
  apply (Rmult_lt_compat_l p) in H; [|exact Hp].
  replace (p * (s / p - 1)) with (s - p) in H by (field; lra). lra.
Qed.

Lemma kl_term_le p s : 0 <= p -> 0 < s -> p - s <= p * ln (p / s).
Proof.
  intros Hp Hs. destruct (Req_dec p s) as [<-|Hne].
  - rewrite kl_term_self by exact Hp. lra.
  - left. now apply kl_term_strict.
Qed.

Lemma kl_term_equality p s : 0 <= p -> 0 < s -> p * ln (p / s) = p - s -> p = s.
Proof.
  intros Hp Hs E. destruct (Req_dec p s) as [|Hne]; [assumption|].
  pose proof (kl_term_strict p s Hp Hs Hne). lra.
Qed.

(** ** Bernoulli KL: never negative, zero only for equal arguments.
    [p] may be 0 or 1 (0 log 0 = 0), the model's [s] may not. *)

Theorem kl_nonneg : forall p s, 0 <= p <= 1 -> 0 < s < 1 -> 0 <= kl p s.
Proof.
  intros p s Hp Hs. unfold kl.
  pose proof (kl_term_le p s). pose proof (kl_term_le (1 - p) (1 - s)). lra.
Qed.

Theorem kl_zero : forall p s, 0 <= p <= 1 -> 0 < s < 1 -> (kl p s = 0 <-> p = s).
Proof.
  intros p s Hp Hs. unfold kl. split.
  - intros E. apply kl_term_equality; [lra|lra|].
    pose proof (kl_term_le p s). pose proof (kl_term_le (1 - p) (1 - s)). lra.
  - intros <-. rewrite !kl_term_self by lra. ring.
Qed.

(** ** Expected KL, Eq. (8): never negative, zero exactly when annotator and model agree on every
    pair that the proposal draws. This is the footing of the sentence after Eq. (8); [q] need
    not sum to one, nor be positive everywhere. *)

Lemma kl_terms_nonneg n q P Q :
  nonnegative_pairs n q -> probabilities n P -> open_probabilities n Q ->
  for_all A < n, for_all B < n, 0 <= q A B * kl (P A B) (Q A B).
Proof. intros Hq HP HQ A HA B HB. apply Rmult_le_pos; [|apply kl_nonneg]; auto. Qed.

Theorem expected_kl_nonneg : forall n q P Q,
  nonnegative_pairs n q -> probabilities n P -> open_probabilities n Q ->
  0 <= expected_kl n q P Q.
Proof. intros. unfold expected_kl. now apply pairs_nonneg, kl_terms_nonneg. Qed.

Theorem expected_kl_zero : forall n q P Q,
  nonnegative_pairs n q -> probabilities n P -> open_probabilities n Q ->
  (expected_kl n q P Q = 0 <->
   for_all A < n, for_all B < n, 0 < q A B -> P A B = Q A B).
Proof.
  intros n q P Q Hq HP HQ. split.
  - intros H0 A HA B HB Hpos.
    pose proof (pairs_nonneg_zero n _ (kl_terms_nonneg n q P Q Hq HP HQ) H0 A HA B HB) as E.
    apply kl_zero; auto. destruct (Rmult_integral _ _ E); [lra|assumption].
  - intros H. unfold expected_kl. apply sum_zero; intros A HA. apply sum_zero; intros B HB.
    destruct (Hq A HA B HB) as [Hpos|<-]; [|ring].
    replace (kl (P A B) (Q A B)) with 0; [ring|]. symmetry. apply kl_zero; auto.
Qed.

(** Eq. (7) and Eq. (8) are equivalent: they differ by the annotator's entropy, in which the
    model does not occur. *)
Theorem equation_7_is_equation_8 : forall n q P Q,
  probabilities n P -> open_probabilities n Q ->
  expected_cross_entropy n q P Q = expected_kl n q P Q + expected_entropy n q P.
Proof.
  intros n q P Q HP HQ. unfold expected_cross_entropy, expected_kl, expected_entropy.
  rewrite <- pairs_plus. apply pairs_ext; intros A HA B HB.
  specialize (HP A HA B HB). specialize (HQ A HA B HB).
  assert (T : forall p s, 0 <= p -> 0 < s -> p * ln (p / s) = p * ln p - p * ln s).
  { intros p s [Hp|<-] Hs; [rewrite ln_div by assumption|]; ring. }
  unfold kl, entropy, cross_entropy. rewrite !T by lra. ring.
Qed.

(** ** KL divergence of distributions over outcomes (Gibbs' inequality) *)

Lemma kl_divergence_excess n p s :
  distribution n p -> positive_distribution n s ->
  kl_divergence n p s = Σ x < n, (p x * ln (p x / s x) - (p x - s x)).
Proof.
  intros [_ Hp] [_ Hs]. unfold kl_divergence. rewrite sum_minus, sum_minus, Hp, Hs. lra.
Qed.

Theorem kl_divergence_nonneg : forall n p s,
  distribution n p -> positive_distribution n s -> 0 <= kl_divergence n p s.
Proof.
  intros n p s Hp Hs. rewrite (kl_divergence_excess n p s Hp Hs).
  destruct Hp as [Hp _], Hs as [Hs _]. apply sum_nonneg; intros x Hx.
  pose proof (kl_term_le (p x) (s x) (Hp x Hx) (Hs x Hx)). lra.
Qed.

Theorem kl_divergence_zero : forall n p s,
  distribution n p -> positive_distribution n s ->
  (kl_divergence n p s = 0 <-> for_all x < n, p x = s x).
Proof.
  intros n p s Hp Hs. split.
  - rewrite (kl_divergence_excess n p s Hp Hs). intros H0 x Hx.
    destruct Hp as [Hp _], Hs as [Hs _]. apply kl_term_equality; auto.
    apply Rminus_diag_uniq. revert x Hx. apply sum_nonneg_zero; [|exact H0].
    intros x Hx. pose proof (kl_term_le (p x) (s x) (Hp x Hx) (Hs x Hx)). lra.
  - intros E. apply sum_zero; intros x Hx. rewrite <- (E x Hx).
    apply kl_term_self. now apply Hp.
Qed.

Lemma positive_is_distribution n p : positive_distribution n p -> distribution n p.
Proof. intros [H H1]. split; [intros x Hx; left; now apply H|exact H1]. Qed.

(** ** sigma *)

Lemma sigma_range z : 0 < sigma z < 1.
Proof.
  unfold sigma. pose proof (exp_pos (- z)). split.
  - apply Rdiv_lt_0_compat; lra.
  - apply (Rmult_lt_reg_r (1 + exp (- z))); [lra|]. field_simplify; lra.
Qed.

Lemma sigma_injective x y : sigma x = sigma y -> x = y.
Proof.
  unfold sigma. intros H. pose proof (exp_pos (- x)). pose proof (exp_pos (- y)).
  assert (E : exp (- x) = exp (- y)).
  { apply (Rplus_eq_reg_l 1). rewrite <- (Rinv_inv (1 + exp (- x))), <- (Rinv_inv (1 + exp (- y))).
    unfold Rdiv in H. rewrite !Rmult_1_l in H. now rewrite H. }
  apply exp_inv in E. lra.
Qed.

Lemma sigma_opposite z : sigma z + sigma (- z) = 1.
Proof.
  unfold sigma. rewrite Ropp_involutive, exp_Ropp. pose proof (exp_pos z). field. lra.
Qed.

Lemma preference_open n u : open_probabilities n (preference u).
Proof. intros A HA B HB. apply sigma_range. Qed.

Lemma preference_probabilities n u : probabilities n (preference u).
Proof. intros A HA B HB. pose proof (sigma_range (u A - u B)). unfold preference. lra. Qed.

Lemma preference_complementary n u : complementary n (preference u).
Proof.
  intros A HA B HB. unfold preference. replace (u B - u A) with (- (u A - u B)) by ring.
  apply sigma_opposite.
Qed.

(** Eq. (2), and the two forms of p_χ in Lemma 1. *)
Theorem equation_2 : forall u A B, preference u A B = exp (u A) / (exp (u A) + exp (u B)).
Proof.
  intros u A B. unfold preference, sigma. replace (- (u A - u B)) with (u B - u A) by ring.
  unfold Rminus. rewrite exp_plus, exp_Ropp.
  pose proof (exp_pos (u A)). pose proof (exp_pos (u B)). field. lra.
Qed.

(** The Luce choice rule is the PBDE with f = 1 and g = 0. *)
Theorem luce_is_pbde : forall p A B, 0 < p A -> 0 < p B ->
  luce p A B = preference (pbde (fun _ => 1) (fun _ => 0) p) A B.
Proof.
  intros p A B HA HB. rewrite equation_2. unfold pbde, luce.
  rewrite !Rmult_1_l, !Rplus_0_r, !exp_ln by assumption. reflexivity.
Qed.

Lemma luce_preference p A B : 0 < p A -> 0 < p B ->
  luce p A B = preference (fun x => ln (p x)) A B.
Proof.
  intros HA HB. rewrite equation_2, !exp_ln by assumption. reflexivity.
Qed.

Lemma expected_kl_ext n q P P' Q Q' :
  (for_all A < n, for_all B < n, P A B = P' A B) ->
  (for_all A < n, for_all B < n, Q A B = Q' A B) ->
  expected_kl n q P Q = expected_kl n q P' Q'.
Proof.
  intros HP HQ. unfold expected_kl. apply pairs_ext; intros A HA B HB.
  now rewrite HP, HQ.
Qed.

Lemma expected_kl_luce n q p Q : positive n p ->
  expected_kl n q (luce p) Q = expected_kl n q (preference (fun x => ln (p x))) Q.
Proof.
  intros Hp. apply expected_kl_ext; [|reflexivity].
  intros A HA B HB. apply luce_preference; auto.
Qed.
