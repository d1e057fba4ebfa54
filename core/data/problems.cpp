#include "core/data/problems.h"

#include <algorithm>

#include "core/data/text.h"

namespace t2i {

void Problems::add(const std::string& kind, Error error) {
  auto found = std::find_if(kinds_.begin(), kinds_.end(), [&](const ProblemKind& k) { return k.name == kind; });
  if (found == kinds_.end()) found = kinds_.insert(kinds_.end(), ProblemKind{kind, {}, 0});
  ++found->count;
  if (found->first.size() < listed_) found->first.push_back(std::move(error));
}

void Problems::add_all(const std::string& kind, const ProblemKind& others) {
  for (const Error& error : others.first) add(kind, error);
  for (ProblemKind& known : kinds_)
    if (known.name == kind) known.count += others.count - others.first.size();
}

void Problems::drop(const std::string& kind) {
  std::erase_if(kinds_, [&](const ProblemKind& k) { return k.name == kind; });
}

size_t Problems::count() const {
  size_t all = 0;
  for (const ProblemKind& kind : kinds_) all += kind.count;
  return all;
}

std::vector<Error> Problems::take() const {
  std::vector<Error> all;
  for (const ProblemKind& kind : kinds_) {
    all.insert(all.end(), kind.first.begin(), kind.first.end());
    if (kind.count > kind.first.size()) {
      const Error& last = kind.first.back();
      all.push_back({"", counted(kind.count - kind.first.size(), "more problem") + " like the one above", "", "",
                     last.id, last.exit});
    }
  }
  return all;
}

}  // namespace t2i
