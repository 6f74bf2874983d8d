(** Convexity of the expected KL in the model's utilities. The annotator may be any matrix of
    probabilities, so this covers misspecified models (Sec. 5 of the paper). *)

From Coq Require Import Reals Lra Lia.
From pbde Require Import definitions finite_sums divergence identifiability.
Open Scope R_scope.

(** The Bernoulli KL between two values of sigma is the gap between softplus and its tangent. *)
Lemma softplus_sigma z : ln (sigma z) = z - softplus z /\ ln (1 - sigma z) = - softplus z.
Proof.
  unfold softplus. pose proof (exp_pos z).
  assert (E : sigma z = exp z / (1 + exp z)).
  { unfold sigma. rewrite exp_Ropp. field. lra. }
  split.
  - rewrite E, ln_div, ln_exp; lra.
  - replace (1 - sigma z) with (/ (1 + exp z)) by (rewrite E; field; lra).
    rewrite ln_Rinv; lra.
Qed.

Theorem kl_is_softplus_gap : forall a b,
  kl (sigma a) (sigma b) = softplus b - (softplus a + sigma a * (b - a)).
Proof.
  intros a b. unfold kl. pose proof (sigma_range a). pose proof (sigma_range b).
  rewrite !ln_div by lra.
  destruct (softplus_sigma a) as [-> ->]. destruct (softplus_sigma b) as [-> ->]. ring.
Qed.

(** So softplus lies above its tangents, and touches them once. *)
Lemma softplus_tangent a b : softplus a + sigma a * (b - a) <= softplus b.
Proof.
  pose proof (sigma_range a). pose proof (sigma_range b).
  pose proof (kl_nonneg (sigma a) (sigma b)). rewrite kl_is_softplus_gap in *. lra.
Qed.

Lemma softplus_tangent_equality a b : softplus a + sigma a * (b - a) = softplus b -> a = b.
Proof.
  intros E. apply sigma_injective.
  pose proof (sigma_range a). pose proof (sigma_range b).
  apply kl_zero; [lra|lra|]. rewrite kl_is_softplus_gap. lra.
Qed.

Theorem softplus_convex : forall t a b, 0 <= t <= 1 ->
  softplus ((1 - t) * a + t * b) <= (1 - t) * softplus a + t * softplus b.
Proof.
  intros t a b Ht. set (m := (1 - t) * a + t * b).
  pose proof (softplus_tangent m a) as Ha. pose proof (softplus_tangent m b) as Hb.
  apply (Rmult_le_compat_l (1 - t)) in Ha; [|lra]. apply (Rmult_le_compat_l t) in Hb; [|lra].
  replace (softplus m) with ((1 - t) * (softplus m + sigma m * (a - m))
    + t * (softplus m + sigma m * (b - m))) by (unfold m; ring).
  lra.
Qed.

Theorem softplus_strictly_convex : forall t a b, 0 < t < 1 -> a <> b ->
  softplus ((1 - t) * a + t * b) < (1 - t) * softplus a + t * softplus b.
Proof.
  intros t a b Ht Hne. set (m := (1 - t) * a + t * b).
  assert (Ha : softplus m + sigma m * (a - m) < softplus a).
  { destruct (softplus_tangent m a) as [|E]; [assumption|]. apply softplus_tangent_equality in E.
    exfalso. apply Hne. unfold m in E. apply (Rmult_eq_reg_l t); lra. }
  pose proof (softplus_tangent m b) as Hb.
  apply (Rmult_lt_compat_l (1 - t)) in Ha; [|lra]. apply (Rmult_le_compat_l t) in Hb; [|lra].
  replace (softplus m) with ((1 - t) * (softplus m + sigma m * (a - m))
    + t * (softplus m + sigma m * (b - m))) by (unfold m; ring).
  lra.
Qed.

(** One pair's KL as a function of the margin: softplus plus a linear function. *)
Lemma kl_in_margin p d : 0 <= p <= 1 -> kl p (sigma d) = softplus d - p * d - entropy p.
Proof.
  intros Hp. pose proof (sigma_range d).
  assert (T : forall u s, 0 <= u -> 0 < s -> u * ln (u / s) = u * ln u - u * ln s).
  { intros u s [Hu|<-] Hs; [rewrite ln_div by assumption|]; ring. }
  unfold kl, entropy. rewrite !T by lra. destruct (softplus_sigma d) as [-> ->]. ring.
Qed.

Lemma kl_convex_pair p t (u v : nat -> R) A B : 0 <= p <= 1 -> 0 <= t <= 1 ->
  kl p (preference (between t u v) A B) <=
  (1 - t) * kl p (preference u A B) + t * kl p (preference v A B).
Proof.
  intros Hp Ht. unfold preference. rewrite !kl_in_margin by exact Hp.
  pose proof (softplus_convex t (u A - u B) (v A - v B) Ht) as H. unfold between.
  replace ((1 - t) * u A + t * v A - ((1 - t) * u B + t * v B))
    with ((1 - t) * (u A - u B) + t * (v A - v B)) by ring.
  lra.
Qed.

Theorem expected_kl_convex : forall n q P t u v,
  nonnegative_pairs n q -> probabilities n P -> 0 <= t <= 1 ->
  expected_kl n q P (preference (between t u v)) <=
  (1 - t) * expected_kl n q P (preference u) + t * expected_kl n q P (preference v).
Proof.
  intros n q P t u v Hq HP Ht. unfold expected_kl.
  rewrite <- !pairs_scale, <- pairs_plus. apply pairs_le. intros A HA B HB.
  replace ((1 - t) * _ + t * _) with (q A B *
    ((1 - t) * kl (P A B) (preference u A B) + t * kl (P A B) (preference v A B))) by ring.
  apply Rmult_le_compat_l; [now apply Hq|]. apply kl_convex_pair; auto.
Qed.

(** Two utilities with equality strictly between them differ by a constant along every path. *)
Theorem expected_kl_strictly_convex : forall n q P t u v,
  nonnegative_pairs n q -> probabilities n P -> connected n q -> 0 < t < 1 ->
  expected_kl n q P (preference (between t u v)) =
  (1 - t) * expected_kl n q P (preference u) + t * expected_kl n q P (preference v) ->
  exists C, for_all x < n, u x = v x + C.
Proof.
  intros n q P t u v Hq HP Hconn Ht E.
  set (gap := fun A B => q A B * ((1 - t) * kl (P A B) (preference u A B)
    + t * kl (P A B) (preference v A B) - kl (P A B) (preference (between t u v) A B))).
  assert (Hnn : for_all A < n, for_all B < n, 0 <= gap A B).
  { intros A HA B HB. apply Rmult_le_pos; [now apply Hq|].
    pose proof (kl_convex_pair (P A B) t u v A B (HP A HA B HB)). lra. }
  assert (H0 : Σ A < n, Σ B < n, gap A B = 0).
  { unfold expected_kl in E. rewrite <- !pairs_scale, <- pairs_plus in E.
    apply Rminus_diag_eq in E. rewrite <- pairs_minus in E.
    apply Ropp_eq_compat in E. rewrite Ropp_0 in E. rewrite <- E.
    rewrite (pairs_ext n gap (fun A B => -1 * (q A B * kl (P A B) (preference (between t u v) A B)
      - ((1 - t) * (q A B * kl (P A B) (preference u A B))
         + t * (q A B * kl (P A B) (preference v A B)))))) by (intros; unfold gap; ring).
    rewrite pairs_scale. ring. }
  pose proof (pairs_nonneg_zero n gap Hnn H0) as Hz.
  assert (Hpair : for_all A < n, for_all B < n, 0 < q A B -> u A - v A = u B - v B).
  { intros A HA B HB Hpos. specialize (Hz A HA B HB).
    destruct (Rmult_integral _ _ Hz) as [|Hg]; [lra|].
    destruct (Req_dec (u A - u B) (v A - v B)) as [|Hne]; [lra|].
    pose proof (softplus_strictly_convex t _ _ Ht Hne) as Hs.
    unfold preference, between in Hg. rewrite !kl_in_margin in Hg by (now apply HP).
    replace ((1 - t) * u A + t * v A - ((1 - t) * u B + t * v B))
      with ((1 - t) * (u A - u B) + t * (v A - v B)) in Hg by ring.
    lra. }
  assert (Hedge : for_all A < n, for_all B < n, comparison_graph q A B -> u A - v A = u B - v B).
  { intros A HA B HB [_ Hpos]. destruct (Hq A HA B HB) as [HAB|HAB]; [now apply Hpair|].
    symmetry. apply Hpair; auto. lra. }
  exists (u 0%nat - v 0%nat). intros x Hx.
  assert (Hpath : path n q 0%nat x) by (apply Hconn; lia).
  pose proof (proj2 (constant_along_paths n q (fun x => u x - v x) Hedge _ _ Hpath)) as H.
  simpl in H. lra.
Qed.

(** Whatever the annotator, a connected comparison graph leaves at most one fit up to an
    additive constant: the projection of a misspecified annotator is unique. Beyond the paper. *)
Theorem misspecified_fit_unique : forall n q P u v,
  nonnegative_pairs n q -> probabilities n P -> connected n q ->
  minimises (fun u => expected_kl n q P (preference u)) u ->
  minimises (fun u => expected_kl n q P (preference u)) v ->
  exists C, for_all x < n, u x = v x + C.
Proof.
  intros n q P u v Hq HP Hconn Hu Hv.
  apply (expected_kl_strictly_convex n q P (1 / 2) u v); auto; [lra|].
  pose proof (Hu v). pose proof (Hv u). pose proof (Hu (between (1 / 2) u v)).
  pose proof (expected_kl_convex n q P (1 / 2) u v Hq HP ltac:(lra)). simpl in *. lra.
Qed.
