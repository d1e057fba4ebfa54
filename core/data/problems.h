// Problems of a data set found so far. Of each kind the first few are kept, the rest is counted.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/data/limits.h"

namespace t2i {

struct ProblemKind {
  std::string name;
  std::vector<Error> first;
  size_t count = 0;
};

class Problems {
  std::vector<ProblemKind> kinds_;  // in the order in which they were first met
  size_t listed_;                   // kept of one kind

 public:
  explicit Problems(size_t listed = max_problems_listed) : listed_(listed) {}
  void add(const std::string& kind, Error error);
  void add_all(const std::string& kind, const ProblemKind& others);  // those of another list
  void drop(const std::string& kind);  // what was added as this: it is said in another way
  bool empty() const { return kinds_.empty(); }
  size_t count() const;
  const std::vector<ProblemKind>& kinds() const { return kinds_; }
  std::vector<Error> take() const;  // those kept, and a line for those that were only counted
};

}  // namespace t2i
