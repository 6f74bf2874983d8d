// A DPO and an IPO loss in Rust, held against the test vectors. No crates.
//
//     pbde-ref vectors --out vectors && rustc -O reader.rs && ./reader vectors [BUG]
//
// Replace `loss` by your own. BUG plants one: beta_twice, overflow, reference_ignored or sum_for_mean.
// Exit status 0 if every test that applies agrees, 1 if not, with the ids of those that do not.

use std::collections::HashMap;

enum Json { Number(f64), Text(String), Items(Vec<Json>), Members(HashMap<String, Json>), Other }
use Json::*;

impl Json {
    fn get(&self, key: &str) -> Option<&Json> { if let Members(m) = self { m.get(key) } else { None } }
    fn items(&self) -> &[Json] { if let Items(items) = self { items } else { &[] } }
    fn number(&self) -> f64 { if let Number(x) = self { *x } else { f64::NAN } }
    fn text(&self) -> &str { if let Text(text) = self { text } else { "" } }
    fn at_or(&self, key: &str, otherwise: f64) -> f64 { self.get(key).map_or(otherwise, Json::number) }
    fn numbers(&self, key: &str) -> Vec<f64> { self.get(key).map_or(vec![], |a| a.items().iter().map(Json::number).collect()) }
}

struct Parser<'a> { source: &'a [u8], place: usize }

impl Parser<'_> {
    fn next(&mut self) -> u8 {
        while b" \n\r\t,:".contains(&self.source[self.place]) { self.place += 1; }
        self.source[self.place]
    }
    fn until(&mut self, stop: impl Fn(u8) -> bool) -> String {
        let start = self.place;
        while self.place < self.source.len() && !stop(self.source[self.place]) {
            self.place += if self.source[self.place] == b'\\' { 2 } else { 1 };
        }
        String::from_utf8_lossy(&self.source[start..self.place]).into_owned()
    }
    fn string(&mut self) -> String {
        self.place += 1;
        let text = self.until(|c| c == b'"');
        self.place += 1;
        text
    }
    fn value(&mut self) -> Json {
        match self.next() {
            b'{' => {
                let mut members = HashMap::new();
                self.place += 1;
                while self.next() != b'}' { let key = self.string(); members.insert(key, self.value()); }
                self.place += 1;
                Members(members)
            }
            b'[' => {
                let mut items = vec![];
                self.place += 1;
                while self.next() != b']' { items.push(self.value()); }
                self.place += 1;
                Items(items)
            }
            b'"' => Text(self.string()),
            b't' | b'f' | b'n' => { self.until(|c| !c.is_ascii_alphabetic()); Other }
            _ => Number(self.until(|c| b" \n\r\t,]}".contains(&c)).parse().expect("not JSON")),
        }
    }
}

fn sigmoid(z: f64) -> f64 { if z < 0.0 { z.exp() / (1.0 + z.exp()) } else { 1.0 / (1.0 + (-z).exp()) } }
fn softplus(z: f64, bug: &str) -> f64 {
    if bug == "overflow" { (1.0 + z.exp()).ln() } else { z.max(0.0) + (-z.abs()).exp().ln_1p() }
}

/// From a margin to the loss and its derivative.
fn loss(name: &str, parameters: &Json, margin: f64, bug: &str) -> (f64, f64) {
    if name == "ipo" {
        let off = margin - 1.0 / (2.0 * parameters.at_or("tau", f64::NAN));
        return (off * off, 2.0 * off);
    }
    let (beta, e) = (parameters.at_or("beta", f64::NAN), parameters.at_or("label_smoothing", 0.0));
    let z = if bug == "beta_twice" { beta * beta } else { beta } * margin;
    let robust = parameters.get("variant").map_or(false, |v| v.text() == "robust");
    let (kept, flipped) = if robust { ((1.0 - e) / (1.0 - 2.0 * e), -e / (1.0 - 2.0 * e)) } else { (1.0 - e, e) };
    let slope = beta * (flipped * sigmoid(z) - kept * sigmoid(-z));
    (kept * softplus(-z, bug) + flipped * softplus(z, bug), slope)
}

/// Value, losses and the gradient for the chosen; that for the rejected is its negative. None refuses the inputs.
fn batch(name: &str, parameters: &Json, inputs: &Json, bug: &str) -> Option<(f64, Vec<f64>, Vec<f64>)> {
    let names = ["policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected"];
    let v: Vec<Vec<f64>> = names.iter().map(|argument| inputs.numbers(argument)).collect();
    let size = v[0].len();
    let positive = ["beta", "tau"].iter().all(|letter| parameters.at_or(letter, 1.0) > 0.0);
    let smoothed = parameters.get("variant").is_none() || parameters.at_or("label_smoothing", 0.0) < 0.5;
    let alike = size > 0 && v.iter().all(|x| x.len() == size && x.iter().all(|p| *p <= 0.0));
    if !(positive && smoothed && alike) { return None; }
    let reference = |i: usize| if bug == "reference_ignored" { 0.0 } else { v[2][i] - v[3][i] };
    let each: Vec<(f64, f64)> = (0..size).map(|i| loss(name, parameters, v[0][i] - v[1][i] - reference(i), bug)).collect();
    let share = if bug == "sum_for_mean" { 1.0 } else { 1.0 / size as f64 };
    let losses: Vec<f64> = each.iter().map(|x| x.0).collect();
    Some((losses.iter().sum::<f64>() * share, losses, each.iter().map(|x| x.1 * share).collect()))
}

fn agree(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(x, y)| (x - y).abs() <= 1e-7 * y.abs().max(1.0))
}

fn right(found: Option<(f64, Vec<f64>, Vec<f64>)>, test: &Json) -> bool {
    let expected = match test.get("expected") { None => return found.is_none(), Some(expected) => expected };
    let (value, losses, slopes) = match found { None => return false, Some(found) => found };
    let gradients = expected.get("gradients").expect("gradients");
    let negative: Vec<f64> = slopes.iter().map(|x| -x).collect();
    agree(&[value], &[expected.at_or("value", f64::NAN)]) && agree(&losses, &expected.numbers("losses"))
        && agree(&slopes, &gradients.numbers("policy_chosen")) && agree(&negative, &gradients.numbers("policy_rejected"))
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let bug = arguments.get(2).map_or("", String::as_str);
    let known = ["beta", "label_smoothing", "variant", "tau"];
    let mut failed = 0;
    for name in ["dpo", "ipo"] {
        let source = std::fs::read(format!("{}/{}.json", arguments[1], name)).expect("reader FOLDER [BUG]");
        let document = Parser { source: &source, place: 0 }.value();
        assert!(document.get("format").map_or(false, |f| f.text() == "pbde-ref-vectors/1"), "unknown format");
        let (mut held, mut wrong) = (0, vec![]);
        for group in document.get("groups").expect("groups").items() {
            let parameters = group.get("parameters").expect("parameters");
            let ours = if let Members(m) = parameters { m.keys().all(|k| known.contains(&k.as_str())) } else { false };
            if !ours || group.get("convention").is_some() { continue; }
            for test in group.get("tests").expect("tests").items() {
                held += 1;
                if !right(batch(name, parameters, test.get("inputs").expect("inputs"), bug), test) {
                    wrong.push(test.at_or("id", f64::NAN).to_string());
                }
            }
        }
        let ids = if wrong.is_empty() { String::new() } else { format!("; not {}", wrong[..wrong.len().min(8)].join(" ")) };
        println!("{}: {} of {} tests agree{}", name, held - wrong.len(), held, ids);
        failed += wrong.len() + usize::from(held == 0);
    }
    std::process::exit(i32::from(failed > 0));
}
