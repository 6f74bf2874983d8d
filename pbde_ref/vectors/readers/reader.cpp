// A DPO and an IPO loss in C++17, held against the test vectors.
//
//     pbde-ref vectors --out vectors && g++ -std=c++17 -O1 -o reader reader.cpp && ./reader vectors [BUG]
//
// Replace `loss` by your own. BUG plants one: beta_twice, overflow, reference_ignored or sum_for_mean.
// Exit status 0 if every test that applies agrees, 1 if not, with the ids of those that do not.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

// What JSON holds; none of the files' names has an escape.
struct Json {
  double number = 0;
  std::string text;
  std::vector<Json> items;
  std::map<std::string, Json> members;
  bool has(const std::string& key) const { return members.count(key) > 0; }
  double at_or(const std::string& key, double otherwise) const { return has(key) ? members.at(key).number : otherwise; }
};

struct Parser {
  std::string source;
  size_t place = 0;
  char next() {
    place = source.find_first_not_of(" \n\r\t,:", place);
    if (place == std::string::npos) throw std::runtime_error("the file ends too early");
    return source[place];
  }
  std::string string() {
    std::string result;
    for (++place; source.at(place) != '"'; ++place) result += source[place] == '\\' ? source.at(++place) : source[place];
    ++place;
    return result;
  }
  Json value() {
    Json result;
    switch (next()) {
      case '{':
        for (++place; next() != '}';) { std::string key = string(); result.members[key] = value(); }
        ++place;
        break;
      case '[':
        for (++place; next() != ']';) result.items.push_back(value());
        ++place;
        break;
      case '"': result.text = string(); break;
      case 't': case 'n': place += 4; break;
      case 'f': place += 5; break;
      default: {
        char* end;
        result.number = std::strtod(&source[place], &end);
        if (end == &source[place]) throw std::runtime_error("not JSON");
        place = end - &source[0];
      }
    }
    return result;
  }
};

std::string bug;

double sigmoid(double z) { return z < 0 ? std::exp(z) / (1 + std::exp(z)) : 1 / (1 + std::exp(-z)); }
double softplus(double z) {
  if (bug == "overflow") return std::log(1 + std::exp(z));
  return std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z)));
}

struct Slope { double loss, slope; };

Slope loss(const std::string& name, const Json& parameters, double margin) {
  if (name == "ipo") {
    double off = margin - 1 / (2 * parameters.members.at("tau").number);
    return {off * off, 2 * off};
  }
  double beta = parameters.members.at("beta").number, e = parameters.at_or("label_smoothing", 0);
  double z = (bug == "beta_twice" ? beta * beta : beta) * margin, kept = 1 - e, flipped = e;
  if (parameters.has("variant") && parameters.members.at("variant").text == "robust")
    kept = (1 - e) / (1 - 2 * e), flipped = -e / (1 - 2 * e);
  return {kept * softplus(-z) + flipped * softplus(z), beta * (flipped * sigmoid(z) - kept * sigmoid(-z))};
}

void refuse_if(bool wrong, const char* why) { if (wrong) throw std::invalid_argument(why); }

bool agrees(double found, const Json& expected) {
  return std::abs(found - expected.number) <= 1e-7 * std::max(1.0, std::abs(expected.number));
}

bool right(const std::string& name, const Json& parameters, const Json& inputs, const Json* expected) {
  std::vector<const std::vector<Json>*> v;
  for (const char* argument : {"policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected"})
    v.push_back(&inputs.members.at(argument).items);
  size_t size = v[0]->size();
  for (auto numbers : v) {
    refuse_if(size == 0 || numbers->size() != size, "lengths differ, or nothing came");
    for (const Json& x : *numbers) refuse_if(!(x.number <= 0), "a log-probability is at most 0");
  }
  refuse_if(!(parameters.at_or("beta", 1) > 0) || !(parameters.at_or("tau", 1) > 0), "must be positive");
  refuse_if(parameters.has("variant") && !(parameters.at_or("label_smoothing", 0) < 0.5), "label smoothing");
  double share = bug == "sum_for_mean" ? 1 : 1.0 / size, value = 0;
  bool good = expected != nullptr;
  for (size_t i = 0; i < size; ++i) {
    double reference = bug == "reference_ignored" ? 0 : (*v[2])[i].number - (*v[3])[i].number;
    Slope each = loss(name, parameters, (*v[0])[i].number - (*v[1])[i].number - reference);
    value += each.loss * share;
    if (!good) continue;
    const Json& gradients = expected->members.at("gradients");
    good = agrees(each.loss, expected->members.at("losses").items[i]) &&
           agrees(each.slope * share, gradients.members.at("policy_chosen").items[i]) &&
           agrees(-each.slope * share, gradients.members.at("policy_rejected").items[i]);
  }
  return good && agrees(value, expected->members.at("value"));
}

int main(int count, char** arguments) {
  if (count < 2) return std::cerr << "usage: reader FOLDER [BUG]\n", 2;
  bug = count > 2 ? arguments[2] : "";
  const std::set<std::string> known = {"beta", "label_smoothing", "variant", "tau"};
  int failed = 0;
  for (std::string name : {"dpo", "ipo"}) {
    std::ifstream file(std::string(arguments[1]) + "/" + name + ".json");
    Json document = Parser{{std::istreambuf_iterator<char>(file), {}}}.value();
    if (document.members.at("format").text != "pbde-ref-vectors/1") throw std::runtime_error("unknown format");
    int held = 0, wrong = 0;
    std::string ids;
    for (const Json& group : document.members.at("groups").items) {
      const Json& parameters = group.members.at("parameters");
      bool applies = !group.has("convention");
      for (auto& [key, unused] : parameters.members) applies = applies && known.count(key);
      for (const Json& test : group.members.at("tests").items) {
        if (!applies) break;
        bool invalid = test.members.at("result").text == "invalid", good;
        try {
          good = right(name, parameters, test.members.at("inputs"), invalid ? nullptr : &test.members.at("expected"));
        } catch (const std::invalid_argument&) { good = invalid; }
        ++held;
        if (!good && ++wrong <= 8) ids += " " + std::to_string(int(test.members.at("id").number));
      }
    }
    std::cout << name << ": " << held - wrong << " of " << held << " tests agree" << (wrong ? "; not" + ids : "") << "\n";
    failed += wrong + (held == 0);
  }
  return failed ? 1 : 0;
}
