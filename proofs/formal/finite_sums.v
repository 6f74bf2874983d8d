(** Tools: finite sums. Nothing here is specific to preferences. *)

From Coq Require Import Reals Lra Lia Arith.
From pbde Require Import definitions.
Open Scope R_scope.

Lemma sum_ext n F G : (for_all x < n, F x = G x) -> sum n F = sum n G.
Proof.
  induction n as [|n IH]; intros H; simpl; [reflexivity|].
  rewrite IH by (intros; apply H; lia). rewrite H by lia. reflexivity.
Qed.

Lemma sum_plus n F G : sum n (fun x => F x + G x) = sum n F + sum n G.
Proof. induction n as [|n IH]; simpl; [|rewrite IH]; lra. Qed.

Lemma sum_minus n F G : sum n (fun x => F x - G x) = sum n F - sum n G.
Proof. induction n as [|n IH]; simpl; [|rewrite IH]; lra. Qed.

Lemma sum_scale n c F : sum n (fun x => c * F x) = c * sum n F.
Proof. induction n as [|n IH]; simpl; [|rewrite IH]; lra. Qed.

Lemma sum_scale_right n c F : sum n (fun x => F x * c) = sum n F * c.
Proof. induction n as [|n IH]; simpl; [|rewrite IH]; lra. Qed.

Lemma sum_constant n c : sum n (fun _ => c) = INR n * c.
Proof. induction n as [|n IH]; [simpl; lra|]. rewrite S_INR. simpl. rewrite IH. lra. Qed.

Lemma sum_zero n F : (for_all x < n, F x = 0) -> sum n F = 0.
Proof. intros H. rewrite (sum_ext n F (fun _ => 0) H), sum_constant. lra. Qed.

Lemma sum_le n F G : (for_all x < n, F x <= G x) -> sum n F <= sum n G.
Proof.
  induction n as [|n IH]; intros H; simpl; [lra|].
  assert (sum n F <= sum n G) by (apply IH; intros; apply H; lia).
  specialize (H n). specialize (H ltac:(lia)). lra.
Qed.

Lemma sum_nonneg n F : (for_all x < n, 0 <= F x) -> 0 <= sum n F.
Proof.
  intros H. replace 0 with (sum n (fun _ => 0)) by (rewrite sum_constant; lra).
  now apply sum_le.
Qed.

Lemma term_le_sum n F : (for_all x < n, 0 <= F x) -> for_all x < n, F x <= sum n F.
Proof.
  induction n as [|n IH]; intros H x Hx; simpl; [lia|].
  assert (0 <= sum n F) by (apply sum_nonneg; intros; apply H; lia).
  destruct (Nat.eq_dec x n) as [->|]; [lra|].
  assert (F x <= sum n F) by (apply IH; [intros; apply H|]; lia).
  specialize (H n ltac:(lia)). lra.
Qed.

Lemma sum_nonneg_zero n F :
  (for_all x < n, 0 <= F x) -> sum n F = 0 -> for_all x < n, F x = 0.
Proof.
  intros H H0 x Hx. specialize (H x Hx) as Hn. pose proof (term_le_sum n F H x Hx). lra.
Qed.

Lemma sum_positive n F : (0 < n)%nat -> positive n F -> 0 < sum n F.
Proof.
  intros Hn H.
  assert (F 0%nat <= sum n F) by (apply term_le_sum; [intros x Hx; left; now apply H|lia]).
  specialize (H 0%nat Hn). lra.
Qed.

Lemma sum_lt n F G : (0 < n)%nat -> (for_all x < n, F x < G x) -> sum n F < sum n G.
Proof.
  intros Hn H. enough (0 < sum n (fun x => G x - F x)) by (rewrite sum_minus in *; lra).
  apply sum_positive; [exact Hn|]. intros x Hx. specialize (H x Hx). lra.
Qed.

Lemma lower_bound n F : exists m, for_all x < n, m <= F x.
Proof.
  induction n as [|n [m Hm]]; [exists 0; lia|].
  exists (Rmin m (F n)). intros x Hx. pose proof (Rmin_l m (F n)). pose proof (Rmin_r m (F n)).
  destruct (Nat.eq_dec x n) as [->|]; [assumption|]. specialize (Hm x ltac:(lia)). lra.
Qed.

Lemma sum_continuous n (F : nat -> R -> R) :
  (for_all x < n, continuity (F x)) -> continuity (fun C => Σ x < n, F x C).
Proof.
  induction n as [|n IH]; intros H; simpl.
  - apply continuity_const. intros a b. reflexivity.
  - apply (continuity_plus (fun C => Σ x < n, F x C) (F n)); [apply IH; intros|]; apply H; lia.
Qed.

Lemma sum_swap n m (F : nat -> nat -> R) :
  Σ A < n, Σ B < m, F A B = Σ B < m, Σ A < n, F A B.
Proof.
  induction n as [|n IH]; simpl; [|rewrite IH, sum_plus; reflexivity].
  symmetry. apply sum_zero. reflexivity.
Qed.

(** Sums over ordered pairs. *)

Lemma pairs_ext n (F G : nat -> nat -> R) :
  (for_all A < n, for_all B < n, F A B = G A B) ->
  Σ A < n, Σ B < n, F A B = Σ A < n, Σ B < n, G A B.
Proof. intros H. apply sum_ext; intros A HA. apply sum_ext; intros B HB. now apply H. Qed.

Lemma pairs_plus n (F G : nat -> nat -> R) :
  Σ A < n, Σ B < n, (F A B + G A B) = Σ A < n, Σ B < n, F A B + Σ A < n, Σ B < n, G A B.
Proof. rewrite <- sum_plus. apply sum_ext; intros. apply sum_plus. Qed.

Lemma pairs_minus n (F G : nat -> nat -> R) :
  Σ A < n, Σ B < n, (F A B - G A B) = Σ A < n, Σ B < n, F A B - Σ A < n, Σ B < n, G A B.
Proof. rewrite <- sum_minus. apply sum_ext; intros. apply sum_minus. Qed.

Lemma pairs_scale n c (F : nat -> nat -> R) :
  Σ A < n, Σ B < n, (c * F A B) = c * Σ A < n, Σ B < n, F A B.
Proof. rewrite <- sum_scale. apply sum_ext; intros. apply sum_scale. Qed.

Lemma pairs_le n (F G : nat -> nat -> R) :
  (for_all A < n, for_all B < n, F A B <= G A B) ->
  Σ A < n, Σ B < n, F A B <= Σ A < n, Σ B < n, G A B.
Proof. intros H. apply sum_le; intros A HA. apply sum_le; intros B HB. now apply H. Qed.

Lemma pairs_nonneg n (F : nat -> nat -> R) :
  (for_all A < n, for_all B < n, 0 <= F A B) -> 0 <= Σ A < n, Σ B < n, F A B.
Proof. intros H. apply sum_nonneg; intros A HA. apply sum_nonneg; intros B HB. now apply H. Qed.

Lemma pairs_nonneg_zero n (F : nat -> nat -> R) :
  (for_all A < n, for_all B < n, 0 <= F A B) ->
  Σ A < n, Σ B < n, F A B = 0 -> for_all A < n, for_all B < n, F A B = 0.
Proof.
  intros H H0 A HA. apply sum_nonneg_zero; [now apply H|].
  apply (sum_nonneg_zero n (fun A => sum n (F A))); [|exact H0|exact HA].
  intros C HC. apply sum_nonneg. now apply H.
Qed.

(** Normalised weights. *)

Lemma normalise_positive_distribution n w :
  (0 < n)%nat -> positive n w -> positive_distribution n (normalise n w).
Proof.
  intros Hn H. pose proof (sum_positive n w Hn H) as HZ. unfold normalise. split.
  - intros x Hx. apply Rdiv_lt_0_compat; [now apply H|exact HZ].
  - unfold Rdiv. rewrite sum_scale_right. apply Rinv_r, Rgt_not_eq, HZ.
Qed.

Lemma normalise_scale n c v w :
  0 < c -> (0 < n)%nat -> positive n v -> (for_all x < n, w x = c * v x) ->
  for_all x < n, normalise n w x = normalise n v x.
Proof.
  intros Hc Hn Hv H x Hx. unfold normalise. pose proof (sum_positive n v Hn Hv).
  rewrite (sum_ext n w (fun y => c * v y) H), sum_scale, (H x Hx). field. lra.
Qed.

(** A normalised policy that is proportional to [w] is [normalise n w]. *)
Lemma proportional_normalised n w c pi :
  (for_all x < n, pi x = c * w x) -> sum n pi = 1 -> for_all x < n, pi x = normalise n w x.
Proof.
  intros H H1 x Hx. unfold normalise.
  assert (E : c * sum n w = 1).
  { rewrite <- sum_scale, <- H1. apply sum_ext; intros y Hy. symmetry. now apply H. }
  assert (sum n w <> 0) by (intros E0; rewrite E0 in E; lra).
  rewrite (H x Hx). apply (Rmult_eq_reg_r (sum n w)); [|assumption].
  transitivity (c * sum n w * w x); [ring|]. rewrite E. field. assumption.
Qed.

Lemma normalised_support_nonempty n p : sum n p = 1 -> (0 < n)%nat.
Proof. destruct n; simpl; [lra|lia]. Qed.
