// What goes wrong, said so that a person can act: `where: what. Why. → what to do  [T2I-Ennnn]`.
//
// Two forms, one content. A parser or checker returns Result<T> (an expected failure is a value). A longer job that
// cannot go on throws Failure, which carries *all* problems found so far; only apps/ catches it, prints every line and
// exits with the first problem's code. Nothing else is thrown on purpose.
#pragma once
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace t2i {

// Exit codes (architecture: schedulers and scripts branch on them).
enum class Exit : int {
  done = 0,
  usage = 64,       // the command line
  bad_data = 65,    // a file is there but wrong
  missing = 66,     // an input is not there
  failed = 70,      // training failed: out of memory, NaN, a plugin
  in_use = 73,      // the output folder is another run's
  io = 74,          // disk full, read or write error
  preempted = 75,   // stopped by a signal, state saved, run me again
  peer_failed = 76, // another rank failed
  config = 78,      // configuration
};

struct Error {
  std::string where;  // "first.yaml:14:3", "data/metadata.jsonl:7", a file, a component
  std::string what;   // what is wrong, with the value got and the one wanted
  std::string why;    // optional: the reason, one sentence
  std::string todo;   // what to do about it
  std::string id;     // "E1001": documented in docs/ERRORS.md, never reused
  Exit exit = Exit::failed;
};

// One line (or a few, if the parts contain newlines), no trailing newline.
std::string to_string(const Error& e);

// The value or the error; never both, never neither.
template <class T>
class [[nodiscard]] Result {
  std::variant<T, Error> v_;

 public:
  Result(T value) : v_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : v_(std::in_place_index<1>, std::move(error)) {}
  explicit operator bool() const { return v_.index() == 0; }
  T& operator*() { return std::get<0>(v_); }
  const T& operator*() const { return std::get<0>(v_); }
  T* operator->() { return &std::get<0>(v_); }
  const T* operator->() const { return &std::get<0>(v_); }
  const Error& error() const { return std::get<1>(v_); }
  T take();  // the value moved out, or Failure thrown
};

// All problems of a job that cannot go on.
class Failure : public std::exception {
  std::string text_;

 public:
  std::vector<Error> errors;
  explicit Failure(Error e) : Failure(std::vector<Error>{std::move(e)}) {}
  explicit Failure(std::vector<Error> all);
  const char* what() const noexcept override { return text_.c_str(); }
  Exit exit() const { return errors.empty() ? Exit::failed : errors.front().exit; }
};

[[noreturn]] inline void fail(Error e) { throw Failure(std::move(e)); }

template <class T>
T Result<T>::take() {
  if (v_.index() == 1) throw Failure(std::get<1>(std::move(v_)));
  return std::get<0>(std::move(v_));
}

// Nearest of `known` to `name` by edit distance, if near enough to be a typing slip; for "Did you mean 'x'?".
std::optional<std::string> nearest(const std::string& name, const std::vector<std::string>& known);

// `text` with control characters (ESC among them) replaced, safe to print on a terminal.
std::string printable(const std::string& text);

}  // namespace t2i
