(** What pairwise preferences determine: Lemma 1 and its converse, Theorem 1. *)

From Coq Require Import Reals Rlogic Lra Lia Arith.
From pbde Require Import definitions finite_sums divergence.
Open Scope R_scope.

Lemma lemma_1_loss_nonneg n q chi omega :
  nonnegative_pairs n q -> 0 <= lemma_1_loss n q chi omega.
Proof.
  intros Hq. apply expected_kl_nonneg;
    auto using preference_probabilities, preference_open.
Qed.

Lemma lemma_1_loss_edges n q chi omega :
  nonnegative_pairs n q ->
  (lemma_1_loss n q chi omega = 0 <->
   for_all A < n, for_all B < n, comparison_graph q A B -> chi A - omega A = chi B - omega B).
Proof.
  intros Hq. unfold lemma_1_loss.
  rewrite expected_kl_zero by auto using preference_probabilities, preference_open.
  split; intros H A HA B HB.
  - intros [_ Hpos].
    assert (T : forall A' B', preference chi A' B' = preference omega A' B' ->
                chi A' - omega A' = chi B' - omega B').
    { intros A' B' E. apply sigma_injective in E. lra. }
    destruct (Hq A HA B HB) as [HAB|HAB]; [now apply T, H|].
    symmetry. apply T, H; auto. lra.
  - intros Hpos. unfold preference. f_equal.
    destruct (Nat.eq_dec A B) as [->|Hne]; [ring|].
    specialize (Hq B HB A HA).
    assert (E : chi A - omega A = chi B - omega B) by (apply H; auto; split; [exact Hne|lra]).
    lra.
Qed.

Lemma constant_along_paths n q (d : nat -> R) :
  (for_all A < n, for_all B < n, comparison_graph q A B -> d A = d B) ->
  forall A B, path n q A B -> (B < n)%nat /\ d A = d B.
Proof.
  intros H A B Hpath. induction Hpath as [A HA|A B C _ [HB IH] HC Hedge]; [auto|].
  split; [exact HC|]. rewrite IH. now apply H.
Qed.

(** The zeros of the loss for any proposal: one additive constant for each connected component
    of the comparison graph. Beyond the paper. *)
Theorem lemma_1_components : forall n q chi omega,
  nonnegative_pairs n q ->
  (lemma_1_loss n q chi omega = 0 <->
   forall A B, path n q A B -> chi A - omega A = chi B - omega B).
Proof.
  intros n q chi omega Hq. rewrite lemma_1_loss_edges by exact Hq. split.
  - intros H A B Hpath.
    exact (proj2 (constant_along_paths n q (fun x => chi x - omega x) H A B Hpath)).
  - intros H A HA B HB Hedge. apply H. apply path_step with A; auto. now apply path_stay.
Qed.

(** The loss reaches zero (at omega = chi), so its global minimisers are its zeros. *)
Theorem lemma_1_minimum_is_zero : forall n q chi omega,
  nonnegative_pairs n q ->
  (minimises (lemma_1_loss n q chi) omega <-> lemma_1_loss n q chi omega = 0).
Proof.
  intros n q chi omega Hq. split.
  - intros H. specialize (H chi).
    assert (E : lemma_1_loss n q chi chi = 0) by (apply lemma_1_components; auto; intros; ring).
    pose proof (lemma_1_loss_nonneg n q chi omega Hq). lra.
  - intros E omega'. rewrite E. now apply lemma_1_loss_nonneg.
Qed.

(** Lemma 1. Stronger than the paper's in three ways: "if and only if"; a connected comparison
    graph in place of q > 0 on all of S x S; chi and omega need not be injective (injectivity
    would exclude an annotator who is indifferent between two outcomes). *)
Theorem lemma_1 : forall n q chi omega,
  nonnegative_pairs n q -> connected n q ->
  (minimises (lemma_1_loss n q chi) omega <->
   exists C, for_all x < n, chi x = omega x + C).
Proof.
  intros n q chi omega Hq Hconn.
  rewrite lemma_1_minimum_is_zero, lemma_1_components by exact Hq. split.
  - intros H. exists (chi 0%nat - omega 0%nat). intros x Hx.
    rewrite (H 0%nat x); [ring|]. apply Hconn; lia.
  - intros [C HC] A B Hpath.
    assert (HB : (B < n)%nat) by (destruct Hpath; assumption).
    assert (HA : (A < n)%nat).
    { clear -Hpath. induction Hpath; assumption. }
    rewrite (HC A HA), (HC B HB). ring.
Qed.

(** The paper's own hypothesis, q > 0 on all pairs, is a special case. *)
Theorem full_support_is_connected : forall n q,
  (for_all A < n, for_all B < n, 0 < q A B) -> connected n q.
Proof.
  intros n q Hq A HA B HB. destruct (Nat.eq_dec A B) as [<-|Hne]; [now apply path_stay|].
  apply path_step with A; auto using path_stay. split; [exact Hne|].
  pose proof (Hq A HA B HB). pose proof (Hq B HB A HA). lra.
Qed.

(** Excluded middle in the form that the library's reals already assume, for finite searches. *)
Lemma bounded_counterexample n (P : nat -> Prop) :
  ~ (for_all x < n, P x) -> exists x, (x < n)%nat /\ ~ P x.
Proof.
  induction n as [|n IH]; intros H.
  - exfalso. apply H. lia.
  - destruct (sig_not_dec (P n)) as [HP|HP]; [|exists n; split; [lia|exact HP]].
    destruct IH as [x [Hx HPx]].
    + intros H'. apply HP. intros HPn. apply H. intros x Hx.
      destruct (Nat.eq_dec x n) as [->|]; [exact HPn|apply H'; lia].
    + exists x. split; [lia|exact HPx].
Qed.

(** The converse of Lemma 1: without a connected comparison graph, every annotator has a global
    minimiser that is not its own utility up to a constant. With [lemma_1]: the conclusion of
    Lemma 1 holds if and only if the graph is connected. *)
Theorem lemma_1_converse : forall n q,
  nonnegative_pairs n q -> ~ connected n q ->
  forall chi, exists omega,
    minimises (lemma_1_loss n q chi) omega /\
    ~ exists C, for_all x < n, chi x = omega x + C.
Proof.
  intros n q Hq Hdis chi.
  apply bounded_counterexample in Hdis. destruct Hdis as [A [HA Hdis]].
  apply bounded_counterexample in Hdis. destruct Hdis as [B [HB Hno]].
  (* Raise every outcome that A cannot reach by 1. *)
  set (omega := fun x => if sig_not_dec (path n q A x) then chi x else chi x + 1).
  exists omega. split.
  - apply lemma_1_minimum_is_zero; [exact Hq|]. apply lemma_1_loss_edges; [exact Hq|].
    intros D HD E HE Hedge. unfold omega.
    assert (Hback : comparison_graph q E D) by (destruct Hedge; split; [congruence|lra]).
    destruct (sig_not_dec (path n q A D)) as [PD|PD];
      destruct (sig_not_dec (path n q A E)) as [PE|PE]; try ring; exfalso.
    + apply PD. intros P. apply PE. now apply path_step with D.
    + apply PE. intros P. apply PD. now apply path_step with E.
  - intros [C HC]. pose proof (HC A HA) as EA. pose proof (HC B HB) as EB. unfold omega in *.
    destruct (sig_not_dec (path n q A A)) as [_|PA]; [|apply PA; now apply path_stay].
    destruct (sig_not_dec (path n q A B)) as [PB|_]; [now apply PB|]. lra.
Qed.

(** Theorem 1: e^r proportional to p*. "If and only if", and no hypothesis on q beyond a
    connected comparison graph; p* need only be positive. *)
Theorem theorem_1 : forall n q p r,
  nonnegative_pairs n q -> connected n q -> positive n p ->
  (minimises (fun r => expected_kl n q (luce p) (preference r)) r <->
   exists c, 0 < c /\ for_all x < n, exp (r x) = c * p x).
Proof.
  intros n q p r Hq Hconn Hp.
  assert (E : minimises (fun r => expected_kl n q (luce p) (preference r)) r <->
              minimises (lemma_1_loss n q (fun x => ln (p x))) r).
  { unfold minimises, lemma_1_loss.
    split; intros H r'; specialize (H r'); rewrite !expected_kl_luce in * by exact Hp; exact H. }
  rewrite E, lemma_1 by assumption. split.
  - intros [C HC]. exists (exp (- C)). split; [apply exp_pos|]. intros x Hx.
    rewrite <- (exp_ln (p x)), (HC x Hx), <- exp_plus by auto. f_equal. ring.
  - intros [c [Hc H]]. exists (- ln c). intros x Hx.
    rewrite <- (ln_exp (r x)), (H x Hx), ln_mult by auto. ring.
Qed.
