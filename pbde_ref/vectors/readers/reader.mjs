// A DPO and an IPO loss in JavaScript, held against the test vectors.
//
//     pbde-ref vectors --out vectors && node reader.mjs vectors [BUG]
//
// Replace `losses` by your own. BUG plants one: beta_twice, overflow, reference_ignored or sum_for_mean.
// Exit status 0 if every test that applies agrees, 1 if not, with the ids of those that do not.

import { readFileSync } from "node:fs";
import { join } from "node:path";

const [folder, bug] = process.argv.slice(2);
const TOLERANCE = 1e-7;

const sigmoid = (z) => (z < 0 ? Math.exp(z) / (1 + Math.exp(z)) : 1 / (1 + Math.exp(-z)));
const softplus = (z) =>
  bug === "overflow" ? Math.log(1 + Math.exp(z)) : Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

// From one margin to [loss, derivative].
const losses = {
  dpo: ({ beta, label_smoothing: e = 0, variant = "cdpo" }) => (margin) => {
    const z = (bug === "beta_twice" ? beta * beta : beta) * margin;
    const [kept, flipped] = variant === "robust" ? [(1 - e) / (1 - 2 * e), -e / (1 - 2 * e)] : [1 - e, e];
    return [kept * softplus(-z) + flipped * softplus(z), beta * (flipped * sigmoid(z) - kept * sigmoid(-z))];
  },
  ipo: ({ tau }) => (margin) => [(margin - 1 / (2 * tau)) ** 2, 2 * (margin - 1 / (2 * tau))],
};
const KNOWN = new Set(["beta", "label_smoothing", "variant", "tau"]);
const NAMES = ["policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected"];

function batch(name, parameters, inputs) {
  const vectors = NAMES.map((argument) => inputs[argument]);
  const size = vectors[0].length;
  if (size === 0 || vectors.some((v) => v.length !== size)) throw new RangeError("lengths differ, or nothing came");
  if (vectors.some((v) => v.some((x) => !(x <= 0)))) throw new RangeError("a log-probability is at most 0");
  if (["beta", "tau"].some((letter) => letter in parameters && !(parameters[letter] > 0)))
    throw new RangeError("a parameter must be positive");
  if (parameters.variant === "robust" && !(parameters.label_smoothing < 0.5)) throw new RangeError("label smoothing");
  const [w, l, rw, rl] = bug === "reference_ignored" ? [...vectors.slice(0, 2), [], []] : vectors;
  const each = w.map((x, i) => losses[name](parameters)(x - (rw[i] ?? 0) - l[i] + (rl[i] ?? 0)));
  const share = bug === "sum_for_mean" ? 1 : 1 / size;
  return {
    value: each.reduce((sum, [loss]) => sum + loss, 0) * share,
    losses: each.map(([loss]) => loss),
    gradients: {
      policy_chosen: each.map(([, slope]) => slope * share),
      policy_rejected: each.map(([, slope]) => -slope * share),
    },
  };
}

function agrees(found, expected) {
  if (typeof expected === "number") return Math.abs(found - expected) <= TOLERANCE * Math.max(1, Math.abs(expected));
  return Object.keys(expected).every((key) => agrees(found[key], expected[key]));
}

let failed = 0;
for (const name of Object.keys(losses)) {
  const document = JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"));
  if (document.format !== "pbde-ref-vectors/1") throw new Error(`unknown format ${document.format}`);
  const wrong = [];
  let held = 0;
  for (const { parameters, convention, tests } of document.groups) {
    if (convention || Object.keys(parameters).some((key) => !KNOWN.has(key))) continue;
    for (const { id, result, inputs, expected } of tests) {
      let found = null;
      try {
        found = batch(name, parameters, inputs);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
      }
      held += 1;
      if (result === "invalid" ? found !== null : found === null || !agrees(found, expected)) wrong.push(id);
    }
  }
  console.log(`${name}: ${held - wrong.length} of ${held} tests agree${wrong.length ? `; not ${wrong.slice(0, 8)} …` : ""}`);
  failed += wrong.length + (held === 0);
}
process.exit(failed ? 1 : 0);
