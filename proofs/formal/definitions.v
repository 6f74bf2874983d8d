(** The objects of the paper, on a finite support.

    The support has [n] outcomes, named 0, 1, ..., n-1. A function on the support is a
    function [nat -> R] of which only the values below [n] matter, a matrix over ordered
    pairs is a function [nat -> nat -> R]. Read every "for_all x < n" as "for all x in S".

    All definitions that a statement uses are in this file. With them, the statements that begin
    with the word Theorem can be read without reading a proof. *)

From Coq Require Import Reals.
Open Scope R_scope.

(** ** Finite sums and quantifiers *)

Notation "'for_all' x '<' n ',' P" := (forall x : nat, (x < n)%nat -> P)
  (at level 200, x name, n at level 69, P at level 200).

Fixpoint sum (n : nat) (F : nat -> R) : R :=
  match n with O => 0 | S m => sum m F + F m end.

(** The sum extends over products, not over sums: [Σ x < n, a x * b x + c] has one [c]. *)
Notation "'Σ' x '<' n ',' F" := (sum n (fun x => F))
  (at level 40, x name, n at level 69, F at level 40).

(** ** Minimisers *)

(** [x] is a global minimiser of [L]; [x] minimises, maximises [L] among the elements of [D]. *)
Definition minimises {X : Type} (L : X -> R) (x : X) : Prop := forall y, L x <= L y.
Definition minimises_over {X : Type} (D : X -> Prop) (L : X -> R) (x : X) : Prop :=
  D x /\ forall y, D y -> L x <= L y.
Definition maximises_over {X : Type} (D : X -> Prop) (L : X -> R) (x : X) : Prop :=
  D x /\ forall y, D y -> L y <= L x.

(** ** Distributions over outcomes *)

Definition positive (n : nat) (w : nat -> R) : Prop := for_all x < n, 0 < w x.
Definition nonnegative (n : nat) (w : nat -> R) : Prop := for_all x < n, 0 <= w x.
Definition distribution (n : nat) (p : nat -> R) : Prop :=
  nonnegative n p /\ sum n p = 1.
Definition positive_distribution (n : nat) (p : nat -> R) : Prop :=
  positive n p /\ sum n p = 1.

(** The distribution proportional to the weights [w]. *)
Definition normalise (n : nat) (w : nat -> R) (x : nat) : R := w x / sum n w.

(** KL(p || s) = Σ p log (p / s). The library's [ln 0] is a finite number, so an outcome with
    [p x = 0] adds 0, as it should. Statements about it keep [s] positive. *)
Definition kl_divergence (n : nat) (p s : nat -> R) : R := Σ x < n, p x * ln (p x / s x).

(** ** Preferences: Eq. (2), (9), (11) *)

Definition sigma (z : R) : R := 1 / (1 + exp (- z)).
Definition softplus (z : R) : R := ln (1 + exp z).

(** Prob(A preferred to B), the p(y = 1; A, B) of the paper, under a utility [u]. *)
Definition preference (u : nat -> R) (A B : nat) : R := sigma (u A - u B).

(** Eq. (9), the Luce choice rule. *)
Definition luce (p : nat -> R) (A B : nat) : R := p A / (p A + p B).

(** Eq. (11), the utility Ω_p of a preference behavior distribution equation. *)
Definition pbde (f g p : nat -> R) (x : nat) : R := f x * ln (p x) + g x.

(** The logarithm of the odds, the inverse of [sigma]. *)
Definition logit (p : R) : R := ln (p / (1 - p)).

(** Eq. (25) with two annotators, the second drawn with probability [t]. *)
Definition annotator_mixture (t : R) (P Q : nat -> nat -> R) (A B : nat) : R :=
  (1 - t) * P A B + t * Q A B.

(** A matrix of probabilities; one whose entries are never 0 or 1; one that gives
    "A preferred to B" and "B preferred to A" together probability 1. *)
Definition probabilities (n : nat) (P : nat -> nat -> R) : Prop :=
  for_all A < n, for_all B < n, 0 <= P A B <= 1.
Definition open_probabilities (n : nat) (P : nat -> nat -> R) : Prop :=
  for_all A < n, for_all B < n, 0 < P A B < 1.
Definition complementary (n : nat) (P : nat -> nat -> R) : Prop :=
  for_all A < n, for_all B < n, P A B + P B A = 1.

(** ** Proposals and their comparison graph *)

Definition nonnegative_pairs (n : nat) (q : nat -> nat -> R) : Prop :=
  for_all A < n, for_all B < n, 0 <= q A B.
Definition proposal (n : nat) (q : nat -> nat -> R) : Prop :=
  nonnegative_pairs n q /\ Σ A < n, Σ B < n, q A B = 1.

(** A and B are joined by an edge when the proposal draws the pair in at least one order. *)
Definition comparison_graph (q : nat -> nat -> R) (A B : nat) : Prop :=
  A <> B /\ 0 < q A B + q B A.

Inductive path (n : nat) (q : nat -> nat -> R) : nat -> nat -> Prop :=
  | path_stay A : (A < n)%nat -> path n q A A
  | path_step A B C : path n q A B -> (C < n)%nat -> comparison_graph q B C -> path n q A C.

Definition connected (n : nat) (q : nat -> nat -> R) : Prop :=
  for_all A < n, for_all B < n, path n q A B.

(** ** Losses *)

(** KL divergence, cross-entropy and entropy of Bernoulli distributions with Prob(y = 1) = p, s. *)
Definition kl (p s : R) : R := p * ln (p / s) + (1 - p) * ln ((1 - p) / (1 - s)).
Definition cross_entropy (p s : R) : R := - p * ln s - (1 - p) * ln (1 - s).
Definition entropy (p : R) : R := - p * ln p - (1 - p) * ln (1 - p).

(** Eq. (8) and Eq. (7): annotator's preference probabilities [P], model's [Q]. *)
Definition expected_kl (n : nat) (q P Q : nat -> nat -> R) : R :=
  Σ A < n, Σ B < n, q A B * kl (P A B) (Q A B).
Definition expected_cross_entropy (n : nat) (q P Q : nat -> nat -> R) : R :=
  Σ A < n, Σ B < n, q A B * cross_entropy (P A B) (Q A B).
Definition expected_entropy (n : nat) (q P : nat -> nat -> R) : R :=
  Σ A < n, Σ B < n, q A B * entropy (P A B).

(** The loss of Lemma 1: annotator's utility [chi], model's utility [omega]. *)
Definition lemma_1_loss (n : nat) (q : nat -> nat -> R) (chi omega : nat -> R) : R :=
  expected_kl n q (preference chi) (preference omega).

(** The loss of a policy [pi] whose generative process for preferences is the PBDE (f, g), when
    the annotator's preference probabilities are [P]. *)
Definition policy_loss (n : nat) (q P : nat -> nat -> R) (f g pi : nat -> R) : R :=
  expected_kl n q P (preference (pbde f g pi)).

(** With K prompts, prompt k drawn with weight [rho k] and having [n k] answers: the loss of policies
    [pi k], preference probabilities being [P k] and pairs of answers drawn from [q k]; and policies
    that are normalised at each prompt. *)
Definition prompts_loss (K : nat) (rho : nat -> R) (n : nat -> nat) (q : nat -> nat -> nat -> R)
    (P : nat -> nat -> nat -> R) (f g pi : nat -> nat -> R) : R :=
  Σ k < K, rho k * policy_loss (n k) (q k) (P k) (f k) (g k) (pi k).
Definition conditional_policy (K : nat) (n : nat -> nat) (pi : nat -> nat -> R) : Prop :=
  for_all k < K, positive_distribution (n k) (pi k).

(** The point (1 - t) u + t v of the line through two utilities. *)
Definition between (t : R) (u v : nat -> R) (x : nat) : R := (1 - t) * u x + t * v x.

(** Eq. (3). *)
Definition expected_reward (n : nat) (r pi : nat -> R) : R := Σ x < n, pi x * r x.

(** Eq. (12): expected reward minus β times the KL divergence from the reference policy. *)
Definition kl_control (n : nat) (beta : R) (r pi_pre pi : nat -> R) : R :=
  Σ x < n, pi x * r x - beta * kl_divergence n pi pi_pre.

(** E_{B ~ mu} [Prob(x preferred to B)]. *)
Definition expected_preference (n : nat) (mu : nat -> R) (P : nat -> nat -> R) (x : nat) : R :=
  Σ B < n, mu B * P x B.

(** Eq. (22). *)
Definition psi_po_identity (n : nat) (tau : R) (mu : nat -> R) (P : nat -> nat -> R)
    (pi_pre pi : nat -> R) : R :=
  Σ A < n, Σ B < n, pi A * mu B * P A B - tau * kl_divergence n pi pi_pre.

(** Eq. (23) in expectation, both members of a pair drawn independently from [mu], as a function
    of the scores s = log (π / π_pre), and as a function of the policy. *)
Definition ipo_loss (n : nat) (tau : R) (mu : nat -> R) (P : nat -> nat -> R) (s : nat -> R) : R :=
  Σ A < n, Σ B < n, mu A * mu B *
    (P A B * (s A - s B - 1 / (2 * tau)) ^ 2 + (1 - P A B) * (- (s A - s B) - 1 / (2 * tau)) ^ 2).
Definition log_ratio (pi pi_pre : nat -> R) (x : nat) : R := ln (pi x / pi_pre x).
Definition ipo_policy_loss (n : nat) (tau : R) (mu : nat -> R) (P : nat -> nat -> R)
    (pi_pre pi : nat -> R) : R := ipo_loss n tau mu P (log_ratio pi pi_pre).

(** ** Optima *)

(** exp((χ - g + C) / f): the policy whose PBDE utility is χ + C. *)
Definition policy_at (chi f g : nat -> R) (C : R) (x : nat) : R := exp ((chi x - g x + C) / f x).

(** Eq. (13), (16), (18), and the optimum of Eq. (22) and Eq. (23); [Rpower x y] is x^y. *)
Definition policy_13 (n : nat) (beta : R) (r pi_pre : nat -> R) : nat -> R :=
  normalise n (fun x => pi_pre x * exp (r x / beta)).
Definition policy_16 (n : nat) (beta : R) (pi_pre p : nat -> R) : nat -> R :=
  normalise n (fun x => pi_pre x * Rpower (p x) (1 / beta)).
Definition policy_18 (n : nat) (alpha : R) (pi_pre p : nat -> R) : nat -> R :=
  normalise n (fun x => Rpower (pi_pre x) (1 - alpha) * Rpower (p x) alpha).
Definition ipo_score (n : nat) (tau : R) (mu : nat -> R) (P : nat -> nat -> R) (x : nat) : R :=
  expected_preference n mu P x / tau.
Definition policy_ipo (n : nat) (tau : R) (mu : nat -> R) (P : nat -> nat -> R)
    (pi_pre : nat -> R) : nat -> R :=
  normalise n (fun x => pi_pre x * exp (ipo_score n tau mu P x)).

(** ** Sampling *)

Definition symmetric (n : nat) (q : nat -> nat -> R) : Prop :=
  for_all A < n, for_all B < n, q A B = q B A.

(** Barker's rule: from A, propose B with probability [q A B], move there with probability
    Prob(B preferred to A); stay otherwise. *)
Definition barker (n : nat) (q P : nat -> nat -> R) (A B : nat) : R :=
  if Nat.eqb A B
  then 1 - (Σ C < n, (if Nat.eqb A C then 0 else q A C * P C A))
  else q A B * P B A.

(** The distribution of the preferred outcome of a comparison. *)
Definition winners (n : nat) (q P : nat -> nat -> R) (x : nat) : R :=
  Σ B < n, (q x B + q B x) * P x B.
