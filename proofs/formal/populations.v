(** What a pool of annotators is not, what winners tell, and outcomes that are never preferred. *)

From Coq Require Import Reals Lra Lia Arith.
From pbde Require Import definitions finite_sums divergence identifiability sampling convexity.
Open Scope R_scope.

(** ** Eq. (24) against Eq. (25) *)

(** Under one Luce annotator the two ways around three outcomes are equally likely. *)
Theorem luce_triangle : forall p A B C, 0 < p A -> 0 < p B -> 0 < p C ->
  luce p A B * luce p B C * luce p C A = luce p B A * luce p C B * luce p A C.
Proof. intros p A B C HA HB HC. unfold luce. field. lra. Qed.

(** So some annotator mixture is the density mixture of no two distributions, and no other Luce
    annotator either. *)
Theorem equation_25_is_no_luce : exists p1 p2,
  positive_distribution 3 p1 /\ positive_distribution 3 p2 /\
  forall p, positive 3 p ->
    ~ for_all A < 3, for_all B < 3, annotator_mixture (1 / 2) (luce p1) (luce p2) A B = luce p A B.
Proof.
  exists (fun x => match x with O => 4 / 7 | S O => 2 / 7 | _ => 1 / 7 end), (fun _ => 1 / 3).
  split; [split; [intros [|[|x]] Hx; lra|simpl; lra]|].
  split; [split; [intros x Hx; lra|simpl; lra]|].
  intros p Hp H.
  pose proof (luce_triangle p 0 1 2 (Hp 0%nat ltac:(lia)) (Hp 1%nat ltac:(lia)) (Hp 2%nat ltac:(lia))) as T.
  rewrite <- !H in T by lia. unfold annotator_mixture, luce in T. lra.
Qed.

(** With two outcomes there is no difference. *)
Theorem two_outcomes_mix : forall t p1 p2 A B,
  p1 A + p1 B = 1 -> p2 A + p2 B = 1 ->
  annotator_mixture t (luce p1) (luce p2) A B = luce (between t p1 p2) A B.
Proof.
  intros t p1 p2 A B H1 H2. unfold annotator_mixture, luce, between. rewrite H1, H2.
  replace ((1 - t) * p1 A + t * p2 A + ((1 - t) * p1 B + t * p2 B)) with 1; [field|].
  replace (p1 B) with (1 - p1 A) by lra. replace (p2 B) with (1 - p2 A) by lra. ring.
Qed.

(** ** Winners *)

(** The winners of a pool are the pool of the winners. *)
Theorem winners_pooled : forall n q t P Q x,
  winners n q (annotator_mixture t P Q) x = (1 - t) * winners n q P x + t * winners n q Q x.
Proof.
  intros n q t P Q x. unfold winners, annotator_mixture.
  rewrite <- !sum_scale, <- sum_plus. apply sum_ext. intros; ring.
Qed.

Lemma sigma_increasing a b : a < b -> sigma a < sigma b.
Proof.
  intros H. unfold sigma. pose proof (exp_pos (- a)). pose proof (exp_pos (- b)).
  assert (exp (- b) < exp (- a)) by (apply exp_increasing; lra).
  apply Rmult_lt_compat_l; [lra|]. apply Rinv_lt_contravar; [apply Rmult_lt_0_compat|]; lra.
Qed.

Lemma sigma_monotone a b : 0 <= (sigma a - sigma b) * (a - b).
Proof.
  destruct (Rtotal_order a b) as [H|[->|H]]; [|right; ring|];
    pose proof (sigma_increasing _ _ H); [|apply Rmult_le_pos; lra].
  replace ((sigma a - sigma b) * (a - b)) with ((sigma b - sigma a) * (b - a)) by ring.
  apply Rmult_le_pos; lra.
Qed.

(** How often each outcome wins determines the utilities, if the pairs are known: two utilities
    with the same winners differ by a constant. A fit of several pooled annotators is therefore
    the only one with their winners, and IPO's optimum, which tells the winners, tells p*. *)
Theorem winners_identify : forall n q u v,
  nonnegative_pairs n q -> connected n q ->
  (for_all x < n, winners n q (preference u) x = winners n q (preference v) x) ->
  exists C, for_all x < n, u x = v x + C.
Proof.
  intros n q u v Hq Hconn H.
  set (h := fun x => u x - v x).
  set (G := fun A B => (q A B + q B A) * (preference u A B - preference v A B)).
  assert (H1 : Σ A < n, Σ B < n, h A * G A B = 0).
  { apply sum_zero. intros A HA. rewrite sum_scale.
    assert (E : sum n (G A) = winners n q (preference u) A - winners n q (preference v) A).
    { unfold winners. rewrite <- sum_minus. apply sum_ext. intros; unfold G; ring. }
    rewrite E, (H A HA). ring. }
  assert (Hanti : for_all A < n, for_all B < n, G B A = - G A B).
  { intros A HA B HB. unfold G.
    pose proof (preference_complementary n u A HA B HB).
    pose proof (preference_complementary n v A HA B HB).
    replace (preference u B A) with (1 - preference u A B) by lra.
    replace (preference v B A) with (1 - preference v A B) by lra. ring. }
  assert (H2 : Σ A < n, Σ B < n, h B * G A B = 0).
  { rewrite sum_swap, (pairs_ext n _ (fun A B => -1 * (h A * G A B))).
    - rewrite pairs_scale, H1. ring.
    - intros A HA B HB. rewrite Hanti by assumption. ring. }
  assert (Hz : for_all A < n, for_all B < n, (h A - h B) * G A B = 0).
  { apply pairs_nonneg_zero.
    - intros A HA B HB. unfold h, G, preference.
      replace ((u A - v A - (u B - v B)) * ((q A B + q B A) * (sigma (u A - u B) - sigma (v A - v B))))
        with ((q A B + q B A) *
              ((sigma (u A - u B) - sigma (v A - v B)) * (u A - u B - (v A - v B)))) by ring.
      pose proof (Hq A HA B HB). pose proof (Hq B HB A HA).
      apply Rmult_le_pos; [lra|apply sigma_monotone].
    - rewrite (pairs_ext n _ (fun A B => h A * G A B - h B * G A B)) by (intros; ring).
      rewrite pairs_minus, H1, H2. ring. }
  assert (Hedge : for_all A < n, for_all B < n, comparison_graph q A B -> h A = h B).
  { intros A HA B HB [_ Hpos]. specialize (Hz A HA B HB).
    destruct (Rmult_integral _ _ Hz) as [|HG]; [lra|].
    destruct (Rmult_integral _ _ HG) as [|Hp]; [lra|].
    assert (E : u A - u B = v A - v B) by (apply sigma_injective; unfold preference in Hp; lra).
    unfold h. lra. }
  exists (h 0%nat). intros x Hx.
  assert (Hpath : path n q 0%nat x) by (apply Hconn; lia).
  pose proof (proj2 (constant_along_paths n q h Hedge _ _ Hpath)) as E. unfold h in *. lra.
Qed.

(** Pairs drawn from p* itself say at most half of what a draw says, in every direction: both
    sides are a quadratic form in the change v of the log-probabilities. *)
Theorem own_pairs_say_half : forall n p v, positive n p ->
  Σ A < n, Σ B < n, p A * p B * (luce p A B * luce p B A) * (v A - v B) ^ 2 <=
  1 / 4 * Σ A < n, Σ B < n, p A * p B * (v A - v B) ^ 2.
Proof.
  intros n p v Hp. rewrite <- pairs_scale. apply pairs_le. intros A HA B HB.
  pose proof (Hp A HA). pose proof (Hp B HB).
  assert (HL : luce p A B * luce p B A <= 1 / 4).
  { pose proof (luce_complementary n p Hp A HA B HB) as E.
    replace (luce p B A) with (1 - luce p A B) by lra.
    pose proof (pow2_ge_0 (luce p A B - 1 / 2)). simpl in *. lra. }
  replace (1 / 4 * (p A * p B * (v A - v B) ^ 2)) with (p A * p B * (1 / 4) * (v A - v B) ^ 2) by ring.
  apply Rmult_le_compat_r; [apply pow2_ge_0|].
  apply Rmult_le_compat_l; [|exact HL]. left. now apply Rmult_lt_0_compat.
Qed.

(** ** Outcomes of probability zero *)

(** No finite utilities attain zero where an outcome of probability zero is compared with another. *)
Theorem zero_probability_unattained : forall n q p omega A B,
  nonnegative_pairs n q -> nonnegative n p ->
  (for_all C < n, for_all D < n, 0 < q C D -> 0 < p C + p D) ->
  (A < n)%nat -> (B < n)%nat -> 0 < q A B -> 0 < p A -> p B = 0 ->
  expected_kl n q (luce p) (preference omega) <> 0.
Proof.
  intros n q p omega A B Hq Hp Hdef HA HB HqAB HpA HpB E0.
  (* Pairs that are not drawn do not count, so their 0 / 0 may be replaced. *)
  set (P := fun C D => if Rlt_dec 0 (q C D) then luce p C D else preference omega C D).
  assert (HP : probabilities n P).
  { intros C HC D HD. unfold P. destruct (Rlt_dec 0 (q C D)) as [H|H].
    - pose proof (Hdef C HC D HD H). pose proof (Hp C HC). pose proof (Hp D HD). unfold luce.
      split; [apply Rmult_le_pos; [lra|left; apply Rinv_0_lt_compat; lra]|].
      apply (Rmult_le_reg_r (p C + p D)); [lra|]. field_simplify; lra.
    - now apply preference_probabilities with (n := n). }
  assert (E : expected_kl n q P (preference omega) = 0).
  { rewrite <- E0. unfold expected_kl. apply pairs_ext. intros C HC D HD. unfold P.
    destruct (Rlt_dec 0 (q C D)) as [H|H]; [reflexivity|].
    replace (q C D) with 0 by (pose proof (Hq C HC D HD); lra). ring. }
  pose proof (proj1 (expected_kl_zero n q P (preference omega) Hq HP (preference_open n omega)) E
                A HA B HB HqAB) as HAB.
  unfold P in HAB. destruct (Rlt_dec 0 (q A B)) as [_|]; [|contradiction].
  pose proof (preference_open n omega A HA B HB) as HO. rewrite <- HAB in HO. unfold luce in HO.
  rewrite HpB, Rplus_0_r in HO. replace (p A / p A) with 1 in HO by (field; lra). lra.
Qed.

Lemma kl_sure s : 0 < s < 1 -> kl 1 s = ln (/ s).
Proof.
  intros Hs. unfold kl, Rdiv. rewrite Rminus_diag_eq by reflexivity.
  rewrite !Rmult_1_l, Rmult_0_l. ring.
Qed.

Lemma kl_never s : 0 < s < 1 -> kl 0 s = ln (/ (1 - s)).
Proof.
  intros Hs. unfold kl, Rdiv. rewrite Rminus_0_r. rewrite !Rmult_1_l, Rmult_0_l. ring.
Qed.

(** But zero is approached: raise those outcomes' probabilities from 0 to a small h. If no two of
    them are compared, the loss is at most h / m for each pair, m the least of the others. *)
Theorem zero_probability_approached : forall n q p m h,
  proposal n q -> nonnegative n p -> 0 < m -> 0 < h ->
  (for_all C < n, p C = 0 \/ m <= p C) ->
  (for_all C < n, for_all D < n, 0 < q C D -> 0 < p C + p D) ->
  expected_kl n q (luce p) (luce (fun x => if Req_EM_T (p x) 0 then h else p x)) <= h / m.
Proof.
  intros n q p m h [Hq Hq1] Hp Hm Hh Hleast Hdef.
  set (w := fun x => if Req_EM_T (p x) 0 then h else p x).
  assert (Hhm : 0 < h / m) by (now apply Rdiv_lt_0_compat).
  assert (Hlog : forall c, m <= c -> ln ((c + h) / c) <= h / m).
  { intros c Hc. replace ((c + h) / c) with (1 + h / c) by (field; lra).
    assert (0 < h / c) by (apply Rdiv_lt_0_compat; lra).
    apply Rle_trans with (h / c).
    - pose proof (ln_below_tangent (1 + h / c) ltac:(lra) ltac:(lra)). lra.
    - unfold Rdiv. apply Rmult_le_compat_l; [lra|]. apply Rinv_le_contravar; lra. }
  assert (Hpair : for_all C < n, for_all D < n, 0 < q C D -> kl (luce p C D) (luce w C D) <= h / m).
  { intros C HC D HD HqCD. specialize (Hdef C HC D HD HqCD).
    pose proof (Hp C HC) as HpC. pose proof (Hp D HD) as HpD. unfold luce, w.
    destruct (Req_EM_T (p C) 0) as [EC|NC], (Req_EM_T (p D) 0) as [ED|ND].
    - lra.
    - destruct (Hleast D HD) as [|HmD]; [contradiction|]. rewrite EC.
      replace (0 / (0 + p D)) with 0 by (field; lra).
      assert (Hs : 0 < h / (h + p D) < 1).
      { split; [apply Rdiv_lt_0_compat; lra|]. apply (Rmult_lt_reg_r (h + p D)); [lra|].
        field_simplify; lra. }
      rewrite kl_never by exact Hs.
      replace (/ (1 - h / (h + p D))) with ((p D + h) / p D) by (field; lra). now apply Hlog.
    - destruct (Hleast C HC) as [|HmC]; [contradiction|]. rewrite ED.
      replace (p C / (p C + 0)) with 1 by (field; lra).
      assert (Hs : 0 < p C / (p C + h) < 1).
      { split; [apply Rdiv_lt_0_compat; lra|]. apply (Rmult_lt_reg_r (p C + h)); [lra|].
        field_simplify; lra. }
      rewrite kl_sure by exact Hs.
      replace (/ (p C / (p C + h))) with ((p C + h) / p C) by (field; lra). now apply Hlog.
    - assert (Hs : 0 < p C / (p C + p D) < 1).
      { split; [apply Rdiv_lt_0_compat; lra|]. apply (Rmult_lt_reg_r (p C + p D)); [lra|].
        field_simplify; lra. }
      pose proof (kl_zero (p C / (p C + p D)) (p C / (p C + p D)) ltac:(lra) Hs) as [_ E].
      rewrite E by reflexivity. lra. }
  unfold expected_kl. apply Rle_trans with (Σ C < n, Σ D < n, h / m * q C D).
  - apply pairs_le. intros C HC D HD. destruct (Hq C HC D HD) as [H|H].
    + rewrite Rmult_comm. apply Rmult_le_compat_r; [lra|]. now apply Hpair.
    + rewrite <- H. lra.
  - rewrite pairs_scale, Hq1. lra.
Qed.
