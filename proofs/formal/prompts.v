(** Answers to prompts: with policies that are normalised at each prompt, the optimum is that of each
    prompt by itself, whatever the prompts' weights are. *)

From Coq Require Import Reals Lra Lia Arith.
From pbde Require Import definitions finite_sums divergence identifiability optimal_policy.
Open Scope R_scope.

Lemma sum_one_term K F G k0 : (k0 < K)%nat -> (for_all k < K, k <> k0 -> F k = G k) ->
  sum K F = sum K G + (F k0 - G k0).
Proof.
  induction K as [|K IH]; intros Hk H; [lia|]. simpl.
  destruct (Nat.eq_dec k0 K) as [->|Hne].
  - rewrite (sum_ext K F G); [lra|]. intros k Hk'. apply H; lia.
  - rewrite IH; [|lia|intros k Hk' Hd; apply H; [lia|exact Hd]].
    rewrite (H K); [lra|lia|congruence].
Qed.

(** Changing the policy at one prompt changes one term: a minimiser minimises at each prompt. *)
Theorem prompts_are_separate : forall K rho n q P f g pi, positive K rho ->
  (minimises_over (conditional_policy K n) (prompts_loss K rho n q P f g) pi <->
   for_all k < K, minimises_over (positive_distribution (n k))
     (policy_loss (n k) (q k) (P k) (f k) (g k)) (pi k)).
Proof.
  intros K rho n q P f g pi Hrho. split.
  - intros [Hpi Hmin] k0 Hk0. split; [exact (Hpi k0 Hk0)|]. intros other Hother.
    set (changed := fun k => if Nat.eqb k k0 then other else pi k).
    assert (Hat : changed k0 = other) by (unfold changed; now rewrite Nat.eqb_refl).
    assert (Hoff : forall k, k <> k0 -> changed k = pi k).
    { intros k Hd. unfold changed. destruct (Nat.eqb_spec k k0); [contradiction|reflexivity]. }
    assert (Hcond : conditional_policy K n changed).
    { intros k Hk. destruct (Nat.eq_dec k k0) as [->|Hd]; [now rewrite Hat|].
      rewrite (Hoff k Hd). exact (Hpi k Hk). }
    specialize (Hmin changed Hcond). unfold prompts_loss in Hmin.
    rewrite (sum_one_term K
      (fun k => rho k * policy_loss (n k) (q k) (P k) (f k) (g k) (changed k))
      (fun k => rho k * policy_loss (n k) (q k) (P k) (f k) (g k) (pi k)) k0 Hk0) in Hmin;
      [|intros k _ Hd; now rewrite (Hoff k Hd)].
    rewrite Hat in Hmin. specialize (Hrho k0 Hk0).
    apply (Rmult_le_reg_l (rho k0)); [exact Hrho|lra].
  - intros H. split; [intros k Hk; exact (proj1 (H k Hk))|].
    intros other Hother. apply sum_le. intros k Hk. apply Rmult_le_compat_l.
    + apply Rlt_le. exact (Hrho k Hk).
    + apply (proj2 (H k Hk)). exact (Hother k Hk).
Qed.

(** One constant for each prompt, whose own graph is connected; no edge joins two prompts. *)
Theorem conditional_optimum_unique : forall K rho n q chi f g pi, positive K rho ->
  (for_all k < K, nonnegative_pairs (n k) (q k) /\ connected (n k) (q k) /\ (0 < n k)%nat /\
     positive (n k) (f k)) ->
  (minimises_over (conditional_policy K n)
     (prompts_loss K rho n q (fun k => preference (chi k)) f g) pi <->
   for_all k < K, exists C, sum (n k) (policy_at (chi k) (f k) (g k) C) = 1 /\
     for_all x < n k, pi k x = policy_at (chi k) (f k) (g k) C x).
Proof.
  intros K rho n q chi f g pi Hrho H. rewrite prompts_are_separate by exact Hrho.
  split; intros Hmin k Hk; destruct (H k Hk) as [Hq [Hconn [Hn Hf]]]; specialize (Hmin k Hk);
    apply (general_optimum_unique (n k) (q k) (chi k) (f k) (g k) (pi k)); assumption.
Qed.

(** Theorem 2, Eq. (16) and Eq. (18) at every prompt. *)
Theorem conditional_theorem_2 : forall K rho n q f g p pi, positive K rho ->
  (for_all k < K, nonnegative_pairs (n k) (q k) /\ connected (n k) (q k) /\ positive (n k) (f k)) ->
  conditional_policy K n p ->
  (minimises_over (conditional_policy K n)
     (prompts_loss K rho n q (fun k => preference (pbde (f k) (g k) (p k))) f g) pi <->
   for_all k < K, for_all x < n k, pi k x = p k x).
Proof.
  intros K rho n q f g p pi Hrho H Hp. rewrite prompts_are_separate by exact Hrho.
  split; intros Hmin k Hk; destruct (H k Hk) as [Hq [Hconn Hf]]; specialize (Hmin k Hk);
    pose proof (Hp k Hk);
    apply (theorem_2 (n k) (q k) (f k) (g k) (p k) (pi k)); assumption.
Qed.

Theorem conditional_equation_16 : forall K rho n q beta pi_pre p pi, positive K rho -> 0 < beta ->
  (for_all k < K, nonnegative_pairs (n k) (q k) /\ connected (n k) (q k) /\
     positive (n k) (pi_pre k)) ->
  conditional_policy K n p ->
  (minimises_over (conditional_policy K n)
     (prompts_loss K rho n q (fun k => luce (p k)) (fun _ _ => beta)
        (fun k x => - beta * ln (pi_pre k x))) pi <->
   for_all k < K, for_all x < n k, pi k x = policy_16 (n k) beta (pi_pre k) (p k) x).
Proof.
  intros K rho n q beta pi_pre p pi Hrho Hb H Hp. rewrite prompts_are_separate by exact Hrho.
  split; intros Hmin k Hk; destruct (H k Hk) as [Hq [Hconn Hpre]]; specialize (Hmin k Hk);
    pose proof (Hp k Hk);
    apply (equation_16 (n k) (q k) beta (pi_pre k) (p k) (pi k)); assumption.
Qed.

Theorem conditional_equation_18 : forall K rho n q alpha pi_pre p pi, positive K rho -> 0 < alpha ->
  (for_all k < K, nonnegative_pairs (n k) (q k) /\ connected (n k) (q k) /\
     positive (n k) (pi_pre k)) ->
  conditional_policy K n p ->
  (minimises_over (conditional_policy K n)
     (prompts_loss K rho n q (fun k => luce (p k)) (fun _ _ => 1 / alpha)
        (fun k x => (1 - 1 / alpha) * ln (pi_pre k x))) pi <->
   for_all k < K, for_all x < n k, pi k x = policy_18 (n k) alpha (pi_pre k) (p k) x).
Proof.
  intros K rho n q alpha pi_pre p pi Hrho Ha H Hp. rewrite prompts_are_separate by exact Hrho.
  split; intros Hmin k Hk; destruct (H k Hk) as [Hq [Hconn Hpre]]; specialize (Hmin k Hk);
    pose proof (Hp k Hk);
    apply (equation_18 (n k) (q k) alpha (pi_pre k) (p k) (pi k)); assumption.
Qed.
