#include "window_problem.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <sstream>
#include <stdexcept>

namespace pyprof::window {

namespace {

using gpu::emulation::round_bfloat16;
using gpu::emulation::round_float16;
using gpu::emulation::widen_bfloat16;
using gpu::emulation::widen_float16;

Type type_of(const std::string& name) {
  if (name == "float32") return Type::float32;
  if (name == "float16") return Type::float16;
  if (name == "bfloat16") return Type::bfloat16;
  throw std::invalid_argument("no type " + name);
}

// What an element may differ by: this share of itself and of the tensor's root mean square. A tensor-core kernel rounds
// the weights and their gradients to its type, and the result once more; the sums themselves are in float32.
double share(const Case& c, Type type) {
  // A score of 100 has an error of 4e-6 in float32 before its exponential is taken.
  const double scores = std::fabs(c.scale) * c.size * std::sqrt(c.head_dim);
  return type == Type::float32   ? 3e-6 * (1 + scores)
         : type == Type::float16 ? 3 * std::ldexp(1, -10)
                                 : 3 * std::ldexp(1, -7);
}

double read_element(Type type, const unsigned char* at) {
  uint16_t bits;
  float value;
  if (type == Type::float32) return std::memcpy(&value, at, 4), value;
  std::memcpy(&bits, at, 2);
  return type == Type::float16 ? widen_float16(bits) : widen_bfloat16(bits);
}

double write_element(Type type, unsigned char* at, double exact) {
  const auto value = static_cast<float>(exact);
  const uint16_t bits = type == Type::float16 ? round_float16(value) : round_bfloat16(value);
  if (type == Type::float32) {
    std::memcpy(at, &value, 4);
  } else {
    std::memcpy(at, &bits, 2);
  }
  return read_element(type, at);
}

}  // namespace

Case::Case(const std::string& line) {
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    const size_t middle = word.find('=');
    if (middle == std::string::npos) throw std::invalid_argument("not name=value: " + word);
    const std::string name = word.substr(0, middle), value = word.substr(middle + 1);
    if (name == "impl")
      impl = value;
    else if (name == "type")
      type = value;
    else if (name == "layout")
      layout = value;
    else if (name == "batch")
      batch = std::stoll(value);
    else if (name == "heads")
      heads = std::stoll(value);
    else if (name == "key_heads")
      key_heads = std::stoll(value);
    else if (name == "length")
      length = std::stoll(value);
    else if (name == "head_dim")
      head_dim = std::stoll(value);
    else if (name == "left")
      left = std::stoll(value);
    else if (name == "right")
      right = std::stoll(value);
    else if (name == "global_keys")
      global_keys = std::stoll(value);
    else if (name == "scale")
      scale = std::stod(value);
    else if (name == "dropout_p")
      dropout_p = std::stod(value);
    else if (name == "size")
      size = std::stod(value);
    else if (name == "seed")
      seed = std::stoull(value);
    else if (name == "backward")
      backward = value == "1";
    else if (name == "grad_lse")
      grad_lse = value == "1";
    else if (name == "plant") {
      std::istringstream words(value);
      for (std::string one; std::getline(words, one, ',');) planted.push_back(one);
      if (planted.size() != 4) throw std::invalid_argument("plant=tensor,row,value,elements, not " + value);
    } else if (name == "key_lengths") {
      std::istringstream numbers(value);
      for (std::string number; std::getline(numbers, number, ',');) key_lengths.push_back(std::stoll(number));
    } else
      throw std::invalid_argument("no " + name + " in a case");
  }
  if (!impl.empty() && impl != kImplementation) throw std::invalid_argument("this program is not of " + impl);
  if (!key_lengths.empty() && static_cast<int64_t>(key_lengths.size()) != batch)
    throw std::invalid_argument("key_lengths are not one a sequence");
}

Array::Array(const Case& c, int64_t heads, bool given, std::mt19937_64& random, double size)
    : type_(type_of(c.type)),
      batch_(c.batch),
      heads_(heads),
      length_(c.length),
      head_dim_(c.head_dim),
      element_bytes_(type_ == Type::float32 ? 4 : 2),
      share_(share(c, type_)),
      bytes_(nullptr, std::free) {
  const int64_t d = head_dim_;
  if (c.layout == "bhld")
    strides_ = {heads * length_ * d, length_ * d, d};  // contiguous
  else if (c.layout == "blhd")
    strides_ = {heads * length_ * d, d, heads * d};  // as projections give it
  else if (c.layout == "gaps")
    strides_ = {heads * length_ * (d + 8), length_ * (d + 8), d + 8};
  else if (c.layout == "odd")
    strides_ = {heads * length_ * (d + 1), length_ * (d + 1), d + 1};  // no row is aligned
  else
    throw std::invalid_argument("no layout " + c.layout);
  elements_ = (batch_ - 1) * strides_.batch + (heads_ - 1) * strides_.head + (length_ - 1) * strides_.row + d;
  void* memory = nullptr;
  if (posix_memalign(&memory, 128, elements_ * element_bytes_) != 0) std::abort();
  bytes_.reset(static_cast<unsigned char*>(memory));
  std::memset(memory, 0xff, elements_ * element_bytes_);
  exact_.assign(batch_ * heads_ * length_ * d, std::numeric_limits<double>::quiet_NaN());
  if (!given) return;
  std::normal_distribution<double> normal(0, size);
  size_t at = 0;
  for (int64_t b = 0; b < batch_; ++b)
    for (int64_t h = 0; h < heads_; ++h)
      for (int64_t i = 0; i < length_; ++i)
        for (int64_t e = 0; e < d; ++e) {
          const int64_t offset = b * strides_.batch + h * strides_.head + i * strides_.row + e;
          exact_[at++] = write_element(type_, bytes_.get() + offset * element_bytes_, normal(random));
        }
}

Strides Array::exact_strides() const { return {heads_ * length_ * head_dim_, length_ * head_dim_, head_dim_}; }

void Array::plant(int64_t row, double value, const std::string& elements) {
  const int64_t head = heads_ - 1;
  for (int64_t d = 0; d < head_dim_; ++d) {
    if (elements != "all" && d != std::stoll(elements)) continue;
    const int64_t offset = head * strides_.head + row * strides_.row + d;
    exact_[(head * length_ + row) * head_dim_ + d] =
        write_element(type_, bytes_.get() + offset * element_bytes_, value);
  }
}

void Array::forget(int64_t batch, int64_t head, int64_t row) {
  const int64_t offset = batch * strides_.batch + head * strides_.head + row * strides_.row;
  std::memset(bytes_.get() + offset * element_bytes_, 0xff, head_dim_ * element_bytes_);
}

double Array::element(int64_t batch, int64_t head, int64_t row, int64_t d) const {
  const int64_t offset = batch * strides_.batch + head * strides_.head + row * strides_.row + d;
  return read_element(type_, bytes_.get() + offset * element_bytes_);
}

void Array::mix_into(uint64_t& bits) const {
  for (size_t i = 0; i < elements_ * element_bytes_; ++i) bits = (bits ^ bytes_.get()[i]) * 0x100000001b3u;
}

double Array::typical() const {
  double squares = 0;
  for (const double value : exact_) squares += std::isfinite(value) ? value * value : 0;
  return std::sqrt(squares / static_cast<double>(exact_.size()));
}

bool agree(double got, double want, double most) {
  if (std::isnan(want)) return std::isnan(got);
  return got == want || std::fabs(got - want) <= most;
}

std::string Array::differs(const char* name, double cancelled) const {
  const double size = typical() + cancelled;
  std::vector<char> wanted(elements_, 0);
  size_t at = 0;
  for (int64_t b = 0; b < batch_; ++b)
    for (int64_t h = 0; h < heads_; ++h)
      for (int64_t i = 0; i < length_; ++i)
        for (int64_t d = 0; d < head_dim_; ++d) {
          const double want = exact_[at++], got = element(b, h, i, d);
          wanted[b * strides_.batch + h * strides_.head + i * strides_.row + d] = 1;
          const double most = share_ * (std::fabs(want) + size);
          if (agree(got, want, most)) continue;
          std::ostringstream words;
          words << name << " (" << b << ", " << h << ", " << i << ", " << d << ") is " << got << " and should be "
                << want;
          return words.str();
        }
  for (size_t e = 0; e < elements_; ++e)
    for (size_t byte = 0; byte < element_bytes_; ++byte)
      if (!wanted[e] && bytes_.get()[e * element_bytes_ + byte] != 0xff)
        return std::string(name) + " was written between its rows";
  return "";
}

}  // namespace pyprof::window
