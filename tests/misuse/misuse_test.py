"""Wrong uses of the pipeline library: each is refused by the compiler, and the first error says what is needed."""
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPILER = "g++"  # which names the place before the error; others do it the other way round
FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Werror",
         *(f"-I{ROOT}/modules/{module}/include" for module in ("flow", "base", "model", "lifecycle"))]

PRELUDE = """
#include <ebb/flow.h>
#include <memory>
#include <optional>
#include <string>
using ebb::Context;
struct Plain { int x = 0; };
struct Scorer { explicit Scorer(int); double score(int); };
struct Held {  // cannot be copied
  std::unique_ptr<int> held;
  int operator()(int x) { return x; }
};
"""
HELPERS = """
  [[maybe_unused]] auto numbers = [&] { return env.from_collection({1, 2, 3}); };
  [[maybe_unused]] auto texts = [&] { return env.from_collection(std::vector<std::string>{"a"}); };
  [[maybe_unused]] auto pointers = [&] { return env.from_source([] { return std::optional(std::make_unique<int>(1)); }); };
  [[maybe_unused]] auto nowhere = [](auto&&...) {};
"""

REFUSED = {
    "a map that gives nothing": ("numbers().map([](int) {}).sink(nowhere);", "ebb: map needs a function U(T)"),
    "a map of something else": ("numbers().map([](const std::string& s) { return s; }).sink(nowhere);",
                                "ebb: map needs a function U(T)"),
    "a filter that gives no bool": ("numbers().filter([](int) { return Plain{}; }).sink(nowhere);",
                                    "ebb: filter needs a function bool(const T&)"),
    "a filter that changes its record": ("numbers().filter([](int& x) { return ++x > 0; }).sink(nowhere);",
                                         "ebb: filter needs a function bool(const T&)"),
    "a flat_map without emit": ("numbers().flat_map<int>([](int) {}).sink(nowhere);",
                                "ebb: flat_map<U> needs a function void(const T&, auto& emit)"),
    "a key_by that gives nothing": ("numbers().key_by([](int) {}).reduce([](int a, int b) { return a + b; }).sink(nowhere);",
                                    "ebb: key_by needs a function K(const T&)"),
    "a key without a hash": ("numbers().key_by([](int x) { return Plain{x}; }).reduce([](int a, int b) { return a + b; })"
                             ".sink(nowhere);", "ebb: this key has no hash"),
    "a reduce without keys": ("numbers().reduce([](int a, int b) { return a + b; }).sink(nowhere);",
                              "ebb: reduce needs a stream with keys; put .key_by(f) before it"),
    "a running_reduce without keys": ("numbers().running_reduce([](int a, int b) { return a + b; }).sink(nowhere);",
                                      "ebb: running_reduce needs a stream with keys"),
    "a sink of something else": ("numbers().sink([](const std::string&) {});", "ebb: sink needs a function void(T)"),
    "a source that gives no optional": ("env.from_source([] { return 1; }).sink(nowhere);",
                                        "ebb: a source needs a function std::optional<T>()"),
    "a source in replicas": ("numbers().parallelism(2).sink(nowhere);", "ebb: a source has one replica"),
    "replicas of what cannot be copied": ("numbers().map(Held{}).parallelism(2).sink(nowhere);",
                                          "ebb: parallelism(n) needs a function that can be copied"),
    "a broadcast of what cannot be copied": ("pointers().broadcast().sink(nowhere);",
                                             "ebb: broadcast needs records that can be copied"),
    "a move-only stream used by name": ("auto s = pointers(); s.sink(nowhere);",
                                        "ebb: a stream that is used by name needs records that can be copied"),
    "a union of different types": ("auto t = texts(); numbers().union_with(t).sink(nowhere);",
                                   "ebb: streams that are united need records of the same type"),
    "a policy of nothing": ("numbers().take(1).on_error(ebb::skip).sink(nowhere);",
                            "ebb: on_error() belongs behind an operator that calls a function of yours"),
    "a policy behind a boundary": ("numbers().round_robin().on_error(ebb::skip).sink(nowhere);",
                                   "ebb: on_error() belongs behind a source or an operator"),
    "dead letters of other records": ('auto bad = env.dead_letters<std::string>("bad"); bad.sink(nowhere);'
                                      "numbers().map([](const int& x) { return x; }).on_error(ebb::dead_letter(bad)).sink(nowhere);",
                                      "ebb: dead_letter(bad) needs a stream of the records that go into this operator"),
    "dead letters of a source": ('auto bad = env.dead_letters<int>("bad"); bad.sink(nowhere);'
                                 "numbers().on_error(ebb::dead_letter(bad)).sink(nowhere);",
                                 "ebb: a source that throws has no record"),
    "a process without keys": ("numbers().process<int, int>([](const int&, ebb::Keyed<int>&, auto&) {}).sink(nowhere);",
                               "ebb: process needs a stream with keys"),
    "a process of an unknown state": ("numbers().key_by([](int x) { return x; })"
                                      ".process<int>([](const int&, auto&, auto&) {}).sink(nowhere);",
                                      "ebb: process() cannot see the type of the state"),
    "a join without keys": ("numbers().join_all(texts(), {}, [](int a, const std::string&) { return a; }).sink(nowhere);",
                            "ebb: join_all needs keys on both streams"),
    "a join by different keys": ("numbers().key_by([](int x) { return x; }).join_all("
                                 "texts().key_by([](const std::string& s) { return s; }), {}, [](int a, const std::string&) { return a; })"
                                 ".sink(nowhere);", "ebb: streams that are connected need keys of the same type"),
    "a comap of one type": ("numbers().connect(texts()).comap([](int x) { return x; }, [](int x) { return x; }).sink(nowhere);",
                            "ebb: comap needs a function for each of both types"),
    "turns of what has keys": ("numbers().key_by([](int x) { return x; }).round_robin().sink(nowhere);",
                               "ebb: round_robin() would part the records of a key"),
    "an order of nothing": ("numbers().filter([](int) { return true; }).ordered().sink(nowhere);",
                           "ebb: ordered() belongs behind a map"),
    "a future of something else": ("auto f = env.from_future<std::string>(); f.sink(nowhere); numbers().fill_future(f);",
                                  "ebb: fill_future(f) needs a stream of the records of the future"),
    "a service that cannot be made": ('(void)env.register_service<Scorer>("scorer", std::string("x"));',
                                      "ebb: register_service<S>(name, arguments…) needs arguments that S can be made from"),
    "a call with the wrong arguments": ('auto scorer = env.register_service<Scorer>("scorer", 1);'
                                        "numbers().map([=](int, Context& c) { return c.call(scorer, &Scorer::score, Plain{}); })"
                                        ".sink(nowhere);", "ebb: call() needs a method of the service"),
    "a retry of what is wrong in a file": ('env.from_csv("a").on_error(ebb::retry(3)).sink(nowhere);',
                                          "ebb: what is wrong in a file stays wrong"),
    "values of JSON without its header": ('env.from_json_lines("a").sink(nowhere);',
                                          "ebb: from_json_lines() needs #include <boost/json.hpp>"),
    "Kafka without its header": ('env.from_kafka({.brokers = "a", .topic = "b"}).sink(nowhere);',
                                 "ebb: from_kafka() needs #include <ebb/kafka.h>"),
    "JSON for a file without its header": ('numbers().sink(ebb::to_json_lines("a"));',
                                           "ebb: to_json_lines() needs #include <boost/json.hpp>"),
    "a line that is neither text nor number": ('numbers().map([](int x) { return Plain{x}; }).sink(ebb::to_lines("a"));',
                                               "ebb: to_lines() writes strings and numbers"),
    "a row that is none": ('numbers().map([](int x) { return Plain{x}; }).sink(ebb::to_csv("a"));',
                           "ebb: to_csv() writes tuples, pairs, ranges and CsvRows"),
    "a stream that ends nowhere": ("numbers().map([](int x) { return x; });",
                                   "ebb: a stream that ends in no sink does not run"),
}

# What comes later must not exist until then.
ABSENT = {
    "event time": "numbers().timestamps([](int) { return ebb::WallTime(); }).sink(nowhere);",
    "windows": "numbers().key_by([](int x) { return x; }).window(0).sink(nowhere);",
    "checkpoints": "(void)env.submit({.autostop = true, .checkpoint = {}});",
    "remote services": '(void)ebb::service("scorer").remote();',
}

ACCEPTED = "numbers().map([](int x, Context&) { return x; }).filter([](int x) { return x > 0; }).name(\"f\").sink(nowhere);"


# Each case is a function in a "file" of its own, so that one run of the compiler does for all of them.
def source():
    cases = [*REFUSED.values(), *((statement, None) for statement in ABSENT.values()), (ACCEPTED, None)]
    return PRELUDE + "".join(f'void case_{i}(ebb::LocalEnvironment& env) {{\n{HELPERS}#line 1 "case {i}"\n{statement}\n}}\n'
                             for i, (statement, _) in enumerate(cases))


def first_errors():
    """By number of the case: its first error. An error in a header belongs to the case that it was required from."""
    done = subprocess.run([COMPILER, *FLAGS, "-fsyntax-only", "-x", "c++", "-"], input=source(), capture_output=True,
                          text=True)
    found, case = {}, None
    for line in done.stderr.splitlines():
        if place := re.match(r"case (\d+):", line):
            case = int(place[1])
        if "error:" in line and case is not None:
            found.setdefault(case, line)
    return found, done.stderr


class Misuse(unittest.TestCase):
    def test_each_is_refused_and_its_first_error_says_what_is_needed(self):
        found, said = first_errors()
        for number, (name, (_, message)) in enumerate(REFUSED.items()):
            with self.subTest(name):
                self.assertIn(message, found.get(number, "it compiles"), said)
        for number, name in enumerate(ABSENT, len(REFUSED)):
            with self.subTest(name):
                self.assertIn(number, found, "it compiles")
        self.assertNotIn(len(REFUSED) + len(ABSENT), found, said)


if __name__ == "__main__":
    unittest.main()
