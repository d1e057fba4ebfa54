#!/usr/bin/env bash
# Builds the torch-free half with AddressSanitizer and UndefinedBehaviorSanitizer and runs its unit tests: a read past an
# end, a leak, a signed overflow or a misaligned access ends them. CTest runs this under the label "sanitize".
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset sanitize > /dev/null
cmake --build --preset sanitize --target t2i_base_tests t2i_front_tests
T2I_SOURCE_DIR="$PWD" build-sanitize/bin/t2i_base_tests --gtest_brief=1
build-sanitize/bin/t2i_front_tests --gtest_brief=1
