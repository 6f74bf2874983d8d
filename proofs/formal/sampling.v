(** Choices as a sampler: Barker's rule, and the distribution of winners. *)

From Coq Require Import Reals Lra Lia Arith.
From pbde Require Import definitions finite_sums divergence identifiability.
Open Scope R_scope.

(** Detailed balance. The paper cites the sampler (Sec. 4.1) without its hypothesis, a
    symmetric proposal. *)
Theorem barker_detailed_balance : forall n q p,
  symmetric n q -> positive n p ->
  for_all A < n, for_all B < n,
    p A * barker n q (luce p) A B = p B * barker n q (luce p) B A.
Proof.
  intros n q p Hsym Hp A HA B HB. unfold barker, luce.
  destruct (Nat.eqb_spec A B) as [->|Hne]; [now rewrite Nat.eqb_refl|].
  destruct (Nat.eqb_spec B A) as [E|_]; [congruence|].
  rewrite (Hsym A HA B HB). specialize (Hp A HA) as HpA. specialize (Hp B HB) as HpB.
  field. lra.
Qed.

(** With any other PBDE the chain balances exp(Ω), whose normalisation is in general not p*. *)
Theorem barker_detailed_balance_utility : forall n q u,
  symmetric n q ->
  for_all A < n, for_all B < n,
    exp (u A) * barker n q (preference u) A B = exp (u B) * barker n q (preference u) B A.
Proof.
  intros n q u Hsym A HA B HB. unfold barker. rewrite !equation_2.
  destruct (Nat.eqb_spec A B) as [->|Hne]; [now rewrite Nat.eqb_refl|].
  destruct (Nat.eqb_spec B A) as [E|_]; [congruence|].
  rewrite (Hsym A HA B HB). pose proof (exp_pos (u A)). pose proof (exp_pos (u B)).
  field. lra.
Qed.

Lemma diagonal_split n A F : (A < n)%nat ->
  sum n F = F A + Σ C < n, (if Nat.eqb A C then 0 else F C).
Proof.
  induction n as [|n IH]; intros HA; simpl; [lia|].
  destruct (Nat.eqb_spec A n) as [->|Hne]; [|rewrite IH by lia; lra].
  rewrite (sum_ext n F (fun C => if Nat.eqb n C then 0 else F C)); [lra|].
  intros C HC. destruct (Nat.eqb_spec n C); [lia|reflexivity].
Qed.

(** Barker's rule moves somewhere with probability one, for any proposal and annotator. *)
Theorem barker_rows_sum_to_one : forall n q P,
  for_all A < n, Σ B < n, barker n q P A B = 1.
Proof.
  intros n q P A HA. rewrite (diagonal_split n A _ HA). unfold barker at 1.
  rewrite Nat.eqb_refl.
  rewrite (sum_ext n (fun C => if Nat.eqb A C then 0 else barker n q P A C)
             (fun C => if Nat.eqb A C then 0 else q A C * P C A)); [ring|].
  intros C _. unfold barker. now destruct (Nat.eqb A C).
Qed.

(** Its entries are probabilities when every row of [q] is a distribution. *)
Theorem barker_nonneg : forall n q P,
  (for_all A < n, distribution n (q A)) -> probabilities n P ->
  for_all A < n, for_all B < n, 0 <= barker n q P A B.
Proof.
  intros n q P Hq HP A HA B HB. unfold barker. destruct (Hq A HA) as [Hnn H1].
  destruct (Nat.eqb A B); [|apply Rmult_le_pos; [now apply Hnn|now apply HP]].
  enough (Σ C < n, (if Nat.eqb A C then 0 else q A C * P C A) <= sum n (q A)) by lra.
  apply sum_le. intros C HC. specialize (Hnn C HC). destruct (HP C HC A HA).
  destruct (Nat.eqb A C); [exact Hnn|]. rewrite <- (Rmult_1_r (q A C)) at 2.
  now apply Rmult_le_compat_l.
Qed.

(** p* is stationary. *)
Theorem barker_stationary : forall n q p,
  symmetric n q -> positive n p ->
  for_all B < n, Σ A < n, p A * barker n q (luce p) A B = p B.
Proof.
  intros n q p Hsym Hp B HB.
  rewrite (sum_ext n _ (fun A => p B * barker n q (luce p) B A))
    by (intros A HA; now apply barker_detailed_balance).
  rewrite sum_scale, barker_rows_sum_to_one by exact HB. ring.
Qed.

(** On a connected comparison graph p* is the only stationary distribution, so a chain that
    converges converges to p*. Only this direction of "samples p*" is formalised. *)
Theorem barker_stationary_unique : forall n q p mu,
  nonnegative_pairs n q -> symmetric n q -> connected n q ->
  positive_distribution n p -> sum n mu = 1 ->
  (for_all B < n, Σ A < n, mu A * barker n q (luce p) A B = mu B) ->
  for_all x < n, mu x = p x.
Proof.
  intros n q p mu Hq Hsym Hconn [Hp Hp1] Hmu1 Hstat.
  set (K := barker n q (luce p)) in *.
  set (h := fun x => mu x / p x).
  assert (Hmu : for_all x < n, mu x = p x * h x).
  { intros x Hx. unfold h. specialize (Hp x Hx). field. lra. }
  (* h is harmonic, so its Dirichlet form vanishes. *)
  assert (Hharm : for_all B < n, Σ A < n, K B A * h A = h B).
  { intros B HB. specialize (Hp B HB) as HpB.
    apply (Rmult_eq_reg_l (p B)); [|lra]. rewrite <- (Hmu B HB), <- (Hstat B HB), <- sum_scale.
    apply sum_ext. intros A HA. rewrite (Hmu A HA).
    pose proof (barker_detailed_balance n q p Hsym Hp A HA B HB) as D. fold K in D.
    transitivity (p B * K B A * h A); [ring|]. rewrite <- D. ring. }
  assert (Hrow : for_all A < n, sum n (K A) = 1) by (intros; now apply barker_rows_sum_to_one).
  set (S2 := Σ A < n, p A * (h A * h A)).
  assert (E1 : Σ A < n, Σ B < n, p A * K A B * (h A * h A) = S2).
  { apply sum_ext. intros A HA.
    rewrite (sum_ext n _ (fun B => p A * (h A * h A) * K A B)) by (intros; ring).
    rewrite sum_scale, Hrow by exact HA. ring. }
  assert (E2 : Σ A < n, Σ B < n, p A * K A B * (h B * h B) = S2).
  { rewrite sum_swap. apply sum_ext. intros B HB.
    rewrite (sum_ext n _ (fun A => p B * (h B * h B) * K B A)).
    - rewrite sum_scale, Hrow by exact HB. ring.
    - intros A HA. unfold K. rewrite barker_detailed_balance by assumption. ring. }
  assert (E3 : Σ A < n, Σ B < n, p A * K A B * (h A * h B) = S2).
  { apply sum_ext. intros A HA.
    rewrite (sum_ext n _ (fun B => p A * h A * (K A B * h B))) by (intros; ring).
    rewrite sum_scale, Hharm by exact HA. ring. }
  (* Its terms off the diagonal are not negative, and positive weights force equality. *)
  assert (Hweights : for_all A < n, for_all B < n, A <> B ->
            K A B = q A B * luce p B A /\ 0 < luce p B A).
  { intros A HA B HB Hne. unfold K, barker. destruct (Nat.eqb_spec A B); [contradiction|].
    split; [reflexivity|]. unfold luce. pose proof (Hp A HA). pose proof (Hp B HB).
    apply Rdiv_lt_0_compat; lra. }
  assert (Hzero : for_all A < n, for_all B < n, p A * K A B * (h A - h B) ^ 2 = 0).
  { apply pairs_nonneg_zero.
    - intros A HA B HB. destruct (Nat.eq_dec A B) as [<-|Hne].
      + right. ring.
      + destruct (Hweights A HA B HB Hne) as [-> HL].
        apply Rmult_le_pos; [|apply pow2_ge_0].
        apply Rmult_le_pos; [left; now apply Hp|].
        apply Rmult_le_pos; [now apply Hq|lra].
    - rewrite (pairs_ext n _ (fun A B => p A * K A B * (h A * h A) + p A * K A B * (h B * h B)
                                     - 2 * (p A * K A B * (h A * h B))))
        by (intros; ring).
      rewrite pairs_minus, pairs_plus, pairs_scale, E1, E2, E3. ring. }
  assert (Hedge : for_all A < n, for_all B < n, comparison_graph q A B -> h A = h B).
  { intros A HA B HB [Hne Hpos]. rewrite (Hsym B HB A HA) in Hpos.
    destruct (Hweights A HA B HB Hne) as [EK HL].
    specialize (Hzero A HA B HB). rewrite EK in Hzero. specialize (Hp A HA) as HpA.
    assert (Hw : p A * (q A B * luce p B A) <> 0).
    { apply Rgt_not_eq, Rmult_lt_0_compat, Rmult_lt_0_compat; lra. }
    destruct (Rmult_integral _ _ Hzero) as [|Hd]; [contradiction|].
    simpl in Hd. rewrite Rmult_1_r in Hd.
    destruct (Rmult_integral _ _ Hd); lra. }
  assert (Hconst : for_all x < n, h x = h 0%nat).
  { intros x Hx. symmetry.
    assert (Hpath : path n q 0%nat x) by (apply Hconn; lia).
    exact (proj2 (constant_along_paths n q h Hedge _ _ Hpath)). }
  assert (Hh0 : h 0%nat = 1).
  { rewrite <- Hmu1, <- (Rmult_1_r (h 0%nat)), <- Hp1, <- sum_scale. apply sum_ext.
    intros x Hx. rewrite (Hmu x Hx), (Hconst x Hx). ring. }
  intros x Hx. rewrite (Hmu x Hx), (Hconst x Hx), Hh0. ring.
Qed.

(** ** The distribution of winners: what "keep the preferred outcome" draws from *)

Lemma luce_complementary n p : positive n p -> complementary n (luce p).
Proof.
  intros Hp A HA B HB. unfold luce. pose proof (Hp A HA). pose proof (Hp B HB). field. lra.
Qed.

(** It sums to one for every proposal and every annotator, mixtures of annotators included.
    Beyond the paper. *)
Theorem winners_sum_to_one : forall n q P,
  proposal n q -> complementary n P -> sum n (winners n q P) = 1.
Proof.
  intros n q P [_ Hq1] HP. unfold winners.
  rewrite (pairs_ext n _ (fun A B => q A B * P A B + q B A * P A B)) by (intros; ring).
  rewrite pairs_plus, (sum_swap n n (fun A B => q B A * P A B)), <- pairs_plus.
  rewrite <- Hq1. apply pairs_ext. intros A HA B HB.
  rewrite <- Rmult_plus_distr_l, HP by assumption. ring.
Qed.

Theorem winners_distribution : forall n q p,
  proposal n q -> positive n p -> distribution n (winners n q (luce p)).
Proof.
  intros n q p Hq Hp. split; [|now apply winners_sum_to_one, luce_complementary].
  intros x Hx. apply sum_nonneg. intros B HB. destruct Hq as [Hq _].
  pose proof (Hq x Hx B HB). pose proof (Hq B HB x Hx).
  apply Rmult_le_pos; [lra|]. unfold luce. pose proof (Hp x Hx). pose proof (Hp B HB).
  left. apply Rdiv_lt_0_compat; lra.
Qed.
