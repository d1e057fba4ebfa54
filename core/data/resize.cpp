// Pillow's resampling, re-derived from its definition so that results agree bit for bit.
//
// Each output pixel is a weighted mean of the input pixels under a filter that is as wide as the shrink factor (so
// shrinking does not alias; enlarging uses the filter's own width). The weights of one axis are the same for all lines,
// so they are made once, in double, scaled to sum to 1 and rounded to 22 bits after the point: 8 bits of pixel, 22 of
// weight, one of sign and one to spare for the filters' overshoot fill an int32. What lies between the two passes is
// rounded to 8 bits, so their order can be seen in the result: horizontal first, except where the height loses more
// than twice as many pixels as the width does. (Pillow 13 measured that to be faster; up to 12 it always went across
// first, which gives another value by 1 or 2 of 255 in such tall pictures.)
#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/data/transform.h"

namespace t2i {
namespace {

constexpr int fraction_bits = 22;
constexpr int32_t one_half = 1 << (fraction_bits - 1);

// Filters by distance from the centre, in units of the (possibly widened) filter.
double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

double cubic(double x) {  // Keys 1981 with a = −1/2
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos3(double x) { return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct Kernel {
  double (*at)(double);
  double reach;  // zero beyond
};

Kernel kernel_of(Filter filter) {
  switch (filter) {
    case Filter::bilinear:
      return {triangle, 1.0};
    case Filter::bicubic:
      return {cubic, 2.0};
    case Filter::lanczos:
      return {lanczos3, 3.0};
  }
  return {cubic, 2.0};
}

// One output position: input[first + i] · weights[i], i < count.
struct Taps {
  int first = 0, count = 0;
  size_t weights = 0;  // where they begin in Axis::weights
};

struct Axis {
  std::vector<Taps> taps;  // of the window's positions only
  std::vector<int32_t> weights;

  // The input positions that the window reads: first() … end().
  int first() const { return taps.front().first; }
  int end() const { return taps.back().first + taps.back().count; }
};

Axis make_axis(int in, int out, int window_first, int window_count, Kernel kernel) {
  Axis axis;
  if (in == out) {  // what the filters give here too, at the cost of one tap
    for (int i = 0; i < window_count; ++i) axis.taps.push_back({window_first + i, 1, 0});
    axis.weights.push_back(1 << fraction_bits);
    return axis;
  }
  double scale = static_cast<double>(in) / out, widening = std::max(scale, 1.0);
  double reach = kernel.reach * widening, per_pixel = 1.0 / widening;
  std::vector<double> line;
  for (int i = window_first; i < window_first + window_count; ++i) {
    double centre = (i + 0.5) * scale;
    int first = std::max(0, static_cast<int>(centre - reach + 0.5));
    int last = std::min(in, static_cast<int>(centre + reach + 0.5));
    line.clear();
    double sum = 0;
    for (int x = first; x < last; ++x) {
      line.push_back(kernel.at((x - centre + 0.5) * per_pixel));
      sum += line.back();
    }
    axis.taps.push_back({first, last - first, axis.weights.size()});
    for (double weight : line) {
      if (sum != 0.0) weight /= sum;
      weight *= 1 << fraction_bits;
      axis.weights.push_back(static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5));
    }
  }
  return axis;
}

uint8_t to_byte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> fraction_bits, 0, 255)); }

Image empty_image(int width, int height) {
  Image image;
  image.width = width, image.height = height;
  image.rgb.resize(static_cast<size_t>(width) * static_cast<size_t>(height) * 3);
  return image;
}

// The horizontal pass over `rows` rows of `in`, whose column 0 is column `first_column` of what the axis counts in.
Image resize_across(const Image& in, int first_column, int first_row, int rows, const Axis& axis) {
  Image result = empty_image(static_cast<int>(axis.taps.size()), rows);
  for (int y = 0; y < rows; ++y) {
    const uint8_t* row = in.row(first_row + y);
    uint8_t* out = result.row(y);
    for (const Taps& taps : axis.taps) {
      const uint8_t* pixel = row + 3 * (taps.first - first_column);
      const int32_t* weight = axis.weights.data() + taps.weights;
      int32_t red = one_half, green = one_half, blue = one_half;
      for (int i = 0; i < taps.count; ++i, pixel += 3) {
        red += pixel[0] * weight[i];
        green += pixel[1] * weight[i];
        blue += pixel[2] * weight[i];
      }
      out[0] = to_byte(red), out[1] = to_byte(green), out[2] = to_byte(blue);
      out += 3;
    }
  }
  return result;
}

// The vertical pass over `columns` columns of `in`, whose row 0 is row `first_row` of what the axis counts in. Rows are
// summed in blocks that stay in the nearest cache.
Image resize_down(const Image& in, int first_row, int first_column, int columns, const Axis& axis) {
  constexpr size_t block = 64;
  Image result = empty_image(columns, static_cast<int>(axis.taps.size()));
  size_t stride = static_cast<size_t>(columns) * 3;
  for (int y = 0; y < result.height; ++y) {
    const Taps& taps = axis.taps[static_cast<size_t>(y)];
    for (size_t x = 0; x < stride; x += block) {
      int32_t sums[block];
      size_t count = std::min(block, stride - x);
      std::fill(sums, sums + block, one_half);
      for (int i = 0; i < taps.count; ++i) {
        const uint8_t* row = in.row(taps.first - first_row + i) + 3 * first_column + x;
        int32_t weight = axis.weights[taps.weights + static_cast<size_t>(i)];
        if (count == block)  // the common case, of constant length
          for (size_t j = 0; j < block; ++j) sums[j] += row[j] * weight;
        else
          for (size_t j = 0; j < count; ++j) sums[j] += row[j] * weight;
      }
      for (size_t j = 0; j < count; ++j) result.row(y)[x + j] = to_byte(sums[j]);
    }
  }
  return result;
}

}  // namespace

Image resize_window(const Image& image, int width, int height, Filter filter, int top, int left, int window_width,
                    int window_height) {
  Kernel kernel = kernel_of(filter);
  Axis across = make_axis(image.width, width, left, window_width, kernel);
  Axis down = make_axis(image.height, height, top, window_height, kernel);
  bool rows_first = height < image.height && image.height - height > 2 * (image.width - width);
  Image out;
  if (rows_first) {
    Image middle = resize_down(image, 0, across.first(), across.end() - across.first(), down);
    out = resize_across(middle, across.first(), 0, window_height, across);
  } else {
    Image middle = resize_across(image, 0, down.first(), down.end() - down.first(), across);
    out = resize_down(middle, down.first(), 0, window_width, down);
  }
  out.notes = image.notes;
  return out;
}

Image resize(const Image& image, int width, int height, Filter filter) {
  return resize_window(image, width, height, filter, 0, 0, width, height);
}

}  // namespace t2i
