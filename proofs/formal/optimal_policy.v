(** The policy that attains the global minimum: the general optimum, Theorem 2, Eq. (16), (18). *)

From Coq Require Import Reals Lra Lia.
From pbde Require Import definitions finite_sums divergence identifiability.
Open Scope R_scope.

(** ** The general optimum: any annotator's utility chi, any g, any f > 0. Beyond the paper. *)

(** Zero loss means f log π + g = χ - C; solved for π. *)
Lemma zero_loss_form n q chi f g pi :
  nonnegative_pairs n q -> connected n q -> positive n f -> positive n pi ->
  (policy_loss n q (preference chi) f g pi = 0 <->
   exists C, for_all x < n, pi x = policy_at chi f g C x).
Proof.
  intros Hq Hconn Hf Hpi.
  change (policy_loss n q (preference chi) f g pi) with (lemma_1_loss n q chi (pbde f g pi)).
  rewrite <- lemma_1_minimum_is_zero, lemma_1 by assumption.
  unfold pbde, policy_at. split; intros [C HC]; exists (- C); intros x Hx; specialize (Hf x Hx).
  - rewrite (HC x Hx), <- (exp_ln (pi x)) at 1 by auto. f_equal. field. lra.
  - rewrite (HC x Hx), ln_exp. field. lra.
Qed.

Lemma policy_at_positive n chi f g C : positive n (policy_at chi f g C).
Proof. intros x Hx. apply exp_pos. Qed.

Lemma policy_at_increasing n chi f g C D :
  (0 < n)%nat -> positive n f -> C < D ->
  sum n (policy_at chi f g C) < sum n (policy_at chi f g D).
Proof.
  intros Hn Hf HCD. apply sum_lt; [exact Hn|]. intros x Hx. apply exp_increasing.
  apply Rmult_lt_compat_r; [now apply Rinv_0_lt_compat, Hf|lra].
Qed.

(** Exactly one additive constant gives a normalised policy. *)
Theorem general_optimum_constant : forall n chi f g,
  (0 < n)%nat -> positive n f -> exists! C, sum n (policy_at chi f g C) = 1.
Proof.
  intros n chi f g Hn Hf.
  set (h := fun C => sum n (policy_at chi f g C) - 1).
  assert (Hcont : continuity h).
  { unfold h. apply (continuity_minus (fun C => sum n (policy_at chi f g C)) (fct_cte 1)).
    - apply (sum_continuous n (fun x C => policy_at chi f g C x)). intros x _.
      unfold policy_at, Rdiv. reg.
    - apply continuity_const. intros a b. reflexivity. }
  (* For C low enough each of the n terms is at most exp (- n) < 1 / n. *)
  destruct (lower_bound n (fun x => g x - chi x - f x * INR n)) as [lo Hlo].
  assert (HloN : h lo < 0).
  { enough (sum n (policy_at chi f g lo) < 1) by (unfold h; lra).
    apply Rle_lt_trans with (Σ x < n, exp (- INR n)).
    - apply sum_le. intros x Hx. specialize (Hlo x Hx). specialize (Hf x Hx). simpl in Hlo.
      unfold policy_at. set (t := (chi x - g x + lo) / f x).
      assert (Ht : t <= - INR n).
      { apply (Rmult_le_reg_r (f x)); [exact Hf|]. unfold t. field_simplify; lra. }
      destruct Ht as [Ht| ->]; [left; now apply exp_increasing|right; reflexivity].
    - rewrite sum_constant. pose proof (exp_ineq1_le (INR n)). pose proof (exp_pos (INR n)).
      rewrite exp_Ropp. apply (Rmult_lt_reg_r (exp (INR n))); [assumption|].
      field_simplify; lra. }
  (* For C high enough the first term alone is exp 1 > 1. *)
  set (hi := g 0%nat - chi 0%nat + f 0%nat).
  assert (HhiP : 0 < h hi).
  { enough (1 < sum n (policy_at chi f g hi)) by (unfold h; lra).
    apply Rlt_le_trans with (policy_at chi f g hi 0%nat).
    - unfold policy_at, hi. specialize (Hf 0%nat Hn).
      replace ((_ + _) / _) with 1 by (field; lra).
      pose proof (exp_ineq1 1). lra.
    - apply term_le_sum; [|exact Hn]. intros x Hx. left. now apply (policy_at_positive n). }
  assert (Hlt : lo < hi).
  { destruct (Rlt_le_dec lo hi) as [|[Hle|E]]; [assumption| |rewrite E in *; lra].
    pose proof (policy_at_increasing n chi f g hi lo Hn Hf Hle). unfold h in *. lra. }
  destruct (IVT h lo hi Hcont Hlt HloN HhiP) as [C [_ HC]].
  exists C. unfold h in HC. split; [lra|]. intros D HD.
  destruct (Rtotal_order C D) as [H|[H|H]]; [|exact H|];
    pose proof (policy_at_increasing n chi f g _ _ Hn Hf H); lra.
Qed.

(** With this constant the policy is a positive distribution and its loss is zero, for every
    proposal. *)
Theorem general_optimum_exists : forall n q chi f g,
  nonnegative_pairs n q -> (0 < n)%nat -> positive n f ->
  exists C, positive_distribution n (policy_at chi f g C) /\
            policy_loss n q (preference chi) f g (policy_at chi f g C) = 0.
Proof.
  intros n q chi f g Hq Hn Hf.
  destruct (general_optimum_constant n chi f g Hn Hf) as [C [HC _]]. exists C.
  split; [split; [apply policy_at_positive|exact HC]|].
  apply lemma_1_loss_edges; [exact Hq|]. intros A HA B HB _.
  pose proof (Hf A HA). pose proof (Hf B HB).
  unfold pbde, policy_at. rewrite !ln_exp. field. lra.
Qed.

Lemma policy_loss_nonneg n q P f g pi :
  nonnegative_pairs n q -> probabilities n P -> 0 <= policy_loss n q P f g pi.
Proof. intros. apply expected_kl_nonneg; auto using preference_open. Qed.

(** Since zero is attained, the minimisers among the policies are those of zero loss. *)
Lemma policy_minimum_is_zero n q chi f g pi :
  nonnegative_pairs n q -> (0 < n)%nat -> positive n f ->
  (minimises_over (positive_distribution n) (policy_loss n q (preference chi) f g) pi <->
   positive_distribution n pi /\ policy_loss n q (preference chi) f g pi = 0).
Proof.
  intros Hq Hn Hf. pose proof (preference_probabilities n chi) as HP.
  split; intros [Hpi H]; (split; [exact Hpi|]).
  - destruct (general_optimum_exists n q chi f g Hq Hn Hf) as [C [HD H0]].
    specialize (H _ HD). pose proof (policy_loss_nonneg n q _ f g pi Hq HP). lra.
  - intros pi' _. rewrite H. now apply policy_loss_nonneg.
Qed.

(** On a connected comparison graph it is the only minimiser among the positive distributions. *)
Theorem general_optimum_unique : forall n q chi f g pi,
  nonnegative_pairs n q -> connected n q -> (0 < n)%nat -> positive n f ->
  (minimises_over (positive_distribution n) (policy_loss n q (preference chi) f g) pi <->
   exists C, sum n (policy_at chi f g C) = 1 /\ for_all x < n, pi x = policy_at chi f g C x).
Proof.
  intros n q chi f g pi Hq Hconn Hn Hf. rewrite policy_minimum_is_zero by assumption. split.
  - intros [[Hpi H1] H0]. apply zero_loss_form in H0; auto. destruct H0 as [C HC].
    exists C. split; [|exact HC]. rewrite <- H1. symmetry. now apply sum_ext.
  - intros [C [H1 HC]].
    assert (Hpi : positive n pi) by (intros x Hx; rewrite (HC x Hx); apply exp_pos).
    split; [split; [exact Hpi|rewrite <- H1; now apply sum_ext]|].
    apply zero_loss_form; auto. now exists C.
Qed.

(** For a constant f the optimum is in closed form: C = - f log Σ exp((χ - g) / f). *)
Theorem constant_f_optimum : forall n q chi b g pi,
  nonnegative_pairs n q -> connected n q -> (0 < n)%nat -> 0 < b ->
  (minimises_over (positive_distribution n)
     (policy_loss n q (preference chi) (fun _ => b) g) pi <->
   for_all x < n, pi x = normalise n (fun x => exp ((chi x - g x) / b)) x).
Proof.
  intros n q chi b g pi Hq Hconn Hn Hb.
  assert (Hf : positive n (fun _ => b)) by (intros x _; exact Hb).
  assert (Hw : positive n (fun x => exp ((chi x - g x) / b))) by (intros x _; apply exp_pos).
  assert (Hsplit : forall C x, policy_at chi (fun _ => b) g C x =
                               exp (C / b) * exp ((chi x - g x) / b)).
  { intros C x. unfold policy_at. rewrite <- exp_plus. f_equal. field. lra. }
  rewrite policy_minimum_is_zero by assumption. split.
  - intros [[Hpi H1] H0]. apply zero_loss_form in H0; auto. destruct H0 as [C HC].
    apply proportional_normalised with (c := exp (C / b)); [|exact H1].
    intros x Hx. now rewrite HC, Hsplit.
  - intros H. pose proof (normalise_positive_distribution n _ Hn Hw) as [HN HN1].
    assert (Hpi : positive n pi) by (intros x Hx; rewrite (H x Hx); now apply HN).
    split; [split; [exact Hpi|rewrite <- HN1; now apply sum_ext]|].
    apply zero_loss_form; auto.
    exists (- b * ln (Σ y < n, exp ((chi y - g y) / b))). intros x Hx.
    rewrite (H x Hx), Hsplit. unfold normalise.
    replace (- b * _ / b) with (- ln (Σ y < n, exp ((chi y - g y) / b))) by (field; lra).
    rewrite exp_Ropp, exp_ln by (now apply sum_positive). field.
    apply Rgt_not_eq. now apply sum_positive.
Qed.

(** ** Theorem 2 *)

Lemma policy_at_own_utility n f g p :
  positive n f -> positive n p ->
  for_all x < n, policy_at (pbde f g p) f g 0 x = p x.
Proof.
  intros Hf Hp x Hx. unfold policy_at, pbde. specialize (Hf x Hx).
  replace ((_ - _ + 0) / f x) with (ln (p x)) by (field; lra). apply exp_ln. auto.
Qed.

(** Theorem 2. The paper states no hypothesis on q, the support or normalisation; these are
    needed and suffice: a connected comparison graph, p* and π positive on the same support and
    both normalised. [f] and [g] are arbitrary functions with f > 0. *)
Theorem theorem_2 : forall n q f g p pi,
  nonnegative_pairs n q -> connected n q -> positive n f -> positive_distribution n p ->
  (minimises_over (positive_distribution n)
     (policy_loss n q (preference (pbde f g p)) f g) pi <->
   for_all x < n, pi x = p x).
Proof.
  intros n q f g p pi Hq Hconn Hf [Hp Hp1].
  assert (Hn : (0 < n)%nat) by (exact (normalised_support_nonempty n p Hp1)).
  pose proof (policy_at_own_utility n f g p Hf Hp) as Hown.
  assert (H0 : sum n (policy_at (pbde f g p) f g 0) = 1).
  { rewrite <- Hp1. now apply sum_ext. }
  rewrite general_optimum_unique by assumption. split.
  - intros [C [HC H]] x Hx. rewrite (H x Hx), <- (Hown x Hx).
    destruct (general_optimum_constant n (pbde f g p) f g Hn Hf) as [C' [_ Huniq]].
    now rewrite <- (Huniq C HC), <- (Huniq 0 H0).
  - intros H. exists 0. split; [exact H0|]. intros x Hx. now rewrite (H x Hx), (Hown x Hx).
Qed.

(** The same in terms of zero loss. *)
Theorem theorem_2_zero_loss : forall n q f g p pi,
  nonnegative_pairs n q -> connected n q -> positive n f ->
  positive_distribution n p -> positive_distribution n pi ->
  (policy_loss n q (preference (pbde f g p)) f g pi = 0 <-> for_all x < n, pi x = p x).
Proof.
  intros n q f g p pi Hq Hconn Hf Hp Hpi.
  rewrite <- (theorem_2 n q f g p pi), policy_minimum_is_zero; try tauto.
  exact (normalised_support_nonempty n p (proj2 Hp)).
Qed.

(** f < 0 everywhere works too: what is needed is one sign. *)
Theorem theorem_2_negative_sign : forall n q f g p pi,
  nonnegative_pairs n q -> connected n q -> (for_all x < n, f x < 0) ->
  positive_distribution n p -> positive_distribution n pi ->
  (policy_loss n q (preference (pbde f g p)) f g pi = 0 <-> for_all x < n, pi x = p x).
Proof.
  intros n q f g p pi Hq Hconn Hf Hp Hpi.
  rewrite <- (theorem_2_zero_loss n q (fun x => - f x) g p pi); auto;
    [|intros x Hx; specialize (Hf x Hx); lra].
  change (lemma_1_loss n q (pbde f g p) (pbde f g pi) = 0 <->
    lemma_1_loss n q (pbde (fun x => - f x) g p) (pbde (fun x => - f x) g pi) = 0).
  rewrite !lemma_1_components by exact Hq. unfold pbde.
  split; intros H A B Hpath; specialize (H A B Hpath); lra.
Qed.

(** The paper's hypothesis f > 0 cannot be weakened to f <> 0: for f = (1, -1), every g and every
    proposal, the policy (0.7, 0.3) has zero loss on the preferences of p* = (0.3, 0.7). *)
Theorem theorem_2_needs_one_sign :
  let f  := fun x => match x with O => 1   | _ => -1  end in
  let p  := fun x => match x with O => 3/10 | _ => 7/10 end in
  let pi := fun x => match x with O => 7/10 | _ => 3/10 end in
  positive_distribution 2 p /\ positive_distribution 2 pi /\ pi 0%nat <> p 0%nat /\
  forall g q, nonnegative_pairs 2 q ->
    policy_loss 2 q (preference (pbde f g p)) f g pi = 0.
Proof.
  intros f p pi.
  split; [split; [intros [|x] _; unfold p|unfold p; simpl]; lra|].
  split; [split; [intros [|x] _; unfold pi|unfold pi; simpl]; lra|].
  split; [unfold p, pi; lra|]. intros g q Hq.
  change (lemma_1_loss 2 q (pbde f g p) (pbde f g pi) = 0).
  apply lemma_1_loss_edges; [exact Hq|]. intros [|[|A]] HA [|[|B]] HB _; try lia;
    unfold pbde, f, p, pi; ring.
Qed.

(** ** Closed forms when the annotator follows the Luce choice rule *)

Lemma policy_loss_luce_minimises n q p f g pi :
  positive n p ->
  (minimises_over (positive_distribution n) (policy_loss n q (luce p) f g) pi <->
   minimises_over (positive_distribution n)
     (policy_loss n q (preference (fun x => ln (p x))) f g) pi).
Proof.
  intros Hp. unfold minimises_over, policy_loss.
  split; intros [Hpi H]; (split; [exact Hpi|]); intros y Hy; specialize (H y Hy);
    rewrite !expected_kl_luce in * by exact Hp; exact H.
Qed.

Lemma normalise_ext n v w :
  (for_all x < n, v x = w x) -> for_all x < n, normalise n v x = normalise n w x.
Proof. intros H x Hx. unfold normalise. now rewrite (sum_ext n v w H), (H x Hx). Qed.

(** Eq. (14) is the PBDE of Eq. (15): f = β, g = - β log π_pre. *)
Theorem equation_14 : forall beta pi_pre pi A B,
  0 < pi A -> 0 < pi B -> 0 < pi_pre A -> 0 < pi_pre B ->
  preference (pbde (fun _ => beta) (fun x => - beta * ln (pi_pre x)) pi) A B =
  sigma (beta * ln (pi A / pi_pre A) - beta * ln (pi B / pi_pre B)).
Proof.
  intros. unfold preference, pbde. f_equal. rewrite !ln_div by assumption. ring.
Qed.

(** Eq. (16): DPO under a Luce annotator. The paper shows the form of the optimum; here it is
    also attained and unique, and π_pre need not be normalised. *)
Theorem equation_16 : forall n q beta pi_pre p pi,
  nonnegative_pairs n q -> connected n q -> 0 < beta ->
  positive n pi_pre -> positive_distribution n p ->
  (minimises_over (positive_distribution n)
     (policy_loss n q (luce p) (fun _ => beta) (fun x => - beta * ln (pi_pre x))) pi <->
   for_all x < n, pi x = policy_16 n beta pi_pre p x).
Proof.
  intros n q beta pi_pre p pi Hq Hconn Hb Hpre [Hp Hp1].
  rewrite policy_loss_luce_minimises, constant_f_optimum
    by eauto using normalised_support_nonempty.
  unfold policy_16.
  assert (E : for_all x < n, exp ((ln (p x) - - beta * ln (pi_pre x)) / beta) =
                             pi_pre x * Rpower (p x) (1 / beta)).
  { intros x Hx. unfold Rpower. rewrite <- (exp_ln (pi_pre x)) at 2 by auto.
    rewrite <- exp_plus. f_equal. field. lra. }
  split; intros H x Hx; rewrite (H x Hx); [|symmetry]; now apply (normalise_ext n _ _ E).
Qed.

(** Eq. (18): the geometric average of π_pre and p*. Attained and unique, for every α > 0. *)
Theorem equation_18 : forall n q alpha pi_pre p pi,
  nonnegative_pairs n q -> connected n q -> 0 < alpha ->
  positive n pi_pre -> positive_distribution n p ->
  (minimises_over (positive_distribution n)
     (policy_loss n q (luce p) (fun _ => 1 / alpha)
        (fun x => (1 - 1 / alpha) * ln (pi_pre x))) pi <->
   for_all x < n, pi x = policy_18 n alpha pi_pre p x).
Proof.
  intros n q alpha pi_pre p pi Hq Hconn Ha Hpre [Hp Hp1].
  rewrite policy_loss_luce_minimises, constant_f_optimum
    by (eauto using normalised_support_nonempty; apply Rdiv_lt_0_compat; lra).
  unfold policy_18.
  assert (E : for_all x < n, exp ((ln (p x) - (1 - 1 / alpha) * ln (pi_pre x)) / (1 / alpha)) =
                             Rpower (pi_pre x) (1 - alpha) * Rpower (p x) alpha).
  { intros x Hx. unfold Rpower. rewrite <- exp_plus. f_equal. field. lra. }
  split; intros H x Hx; rewrite (H x Hx); [|symmetry]; now apply (normalise_ext n _ _ E).
Qed.
