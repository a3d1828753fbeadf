// The parameters and buffers of a model: declared by its layers, laid out in flat arenas, known by their names.
//
// Names are PyTorch's ("layer1.0.conv1.attention.fc.weight"). Convolution weights are [.., O, R, S, I/g] here and
// [.., O, I/g, R, S] in files; the conversion happens at this border and nowhere else.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/autograd.h"
#include "engine/host_copy.h"
#include "engine/host_tensor.h"

namespace omniconv {

/// How the first values of a parameter are drawn: normal with a standard deviation around 0, or a constant.
struct Initializer {
  double constant = 0;
  double standard_deviation = 0;

  static Initializer value(double constant) { return {constant, 0}; }
  static Initializer normal(double standard_deviation) { return {0, standard_deviation}; }
  /// Kaiming normal for ReLU, fan-out: standard deviation sqrt(2 / fan_out).
  static Initializer kaiming(std::int64_t fan_out);
};

/// Everything about one parameter or buffer but its values.
struct ParameterSpec {
  std::string name;
  Shape shape;                 ///< as computed with
  Shape file_shape;            ///< as stored in files; equal count
  bool channels_last = false;  ///< shape ends in [R, S, I/g] where file_shape ends in [I/g, R, S]
};

class ParameterStore {
 public:
  /// `precision` is the type of the net's activations. Values are of that type, or of f32 where it is bf16 or f16;
  /// `seed` determines the initial ones (by name, whatever the device).
  ParameterStore(DType precision, std::uint64_t seed)
      : precision_(precision), dtype_(compute_dtype(precision)), seed_(seed) {}

  /// Declares a parameter (trained) or a buffer (state). The variable gets its value in allocate().
  /// @throws Error if the name is taken or allocate() was called.
  Variable add_parameter(ParameterSpec spec, Initializer initializer);
  Variable add_buffer(ParameterSpec spec, double value);
  /// Declares a count of finished training batches ("num_batches_tracked"), i64 [1]; otherwise as add_buffer().
  Variable add_counter(const std::string& name);

  /// Lays everything out in arenas and draws the initial values. Called once, after all declarations.
  void allocate();
  /// The same with load_state() in place of initial values; nothing is laid out before check_state().
  void allocate(const std::map<std::string, HostTensor>& tensors, const std::string& source);

  /// Type of the activations, and of the weights that convolutions read.
  DType precision() const { return precision_; }
  /// Type of values, gradients and buffers.
  DType dtype() const { return dtype_; }
  std::uint64_t seed() const { return seed_; }
  /// Flat arenas: all parameters, their gradients; [count]. Each parameter starts at a multiple of 32 elements; what
  /// lies between two is zero.
  const Tensor& values() const { return values_; }
  const Tensor& gradients() const { return gradients_; }
  /// All buffers; [count].
  const Tensor& buffers() const { return buffers_; }
  std::int64_t parameter_count() const;

  /// In a net of bf16 or f16: rounds all values into the arena of the same layout that convolutions read. To be called
  /// when values() was written from outside; one launch.
  void round_values() const;

  /// Around a backward pass: forget the gradients; set those that nobody wrote to zero.
  void begin_gradients() const;
  void finish_gradients() const;

  struct Entry {
    ParameterSpec spec;
    Variable variable;
    Initializer initializer;
    bool trained = false;
    std::int64_t first = 0;  ///< offset in its arena
  };
  /// Parameters and buffers in the order of their declaration.
  const std::vector<Entry>& entries() const { return entries_; }
  const Entry& entry(const std::string& name) const;

  /// Types and shapes of what state() returns, by name; known before allocate().
  struct FileTensor {
    DType dtype;
    Shape shape;
  };
  std::map<std::string, FileTensor> layout() const;
  /// The state as files hold it: PyTorch's names, layouts and shapes.
  std::map<std::string, HostTensor> state() const;
  /// An arena laid out like values() (the optimizer's velocity), as files hold it.
  std::map<std::string, HostTensor> state_of(const Tensor& arena) const;
  /// The same in two steps, of which the second is for any thread: copies of the values, and those as files hold them.
  struct Snapshot {
    HostCopy values, buffers, counts;
  };
  void take(Snapshot& snapshot) const;
  std::map<std::string, HostTensor> state(const Snapshot& snapshot) const;
  std::map<std::string, HostTensor> state_of(const HostCopy& arena) const;

  /// Whether `tensors` can be the state; known before allocate(). Any floating type is; counters may be absent; scalars
  /// may be [] or [1]. @throws Error `[checkpoint] ...` naming `source` and the first few missing, unknown or misshapen
  /// tensors.
  void check_state(const std::map<std::string, HostTensor>& tensors, const std::string& source) const;
  /// Takes the state over. @throws Error as check_state(); then nothing has changed.
  void load_state(const std::map<std::string, HostTensor>& tensors, const std::string& source);
  /// Takes over an arena laid out like values(), out of `tensors`, which may hold more.
  /// @throws Error `[checkpoint] ...` naming `source` and the first tensor that is missing, of another shape or no
  /// floating type; then nothing has changed.
  void load_state_of(const Tensor& arena, const std::map<std::string, HostTensor>& tensors,
                     const std::string& source) const;

 private:
  Variable declare(ParameterSpec spec, Initializer initializer, bool trained);
  HostTensor to_file(const Entry& entry, const HostCopy& arena) const;
  void lay_out();
  std::vector<double> from_file(const Entry& entry, const HostTensor& tensor) const;
  void write_values(const Tensor& target, const std::vector<double>& values) const;

  DType precision_, dtype_;
  std::uint64_t seed_;
  std::vector<Entry> entries_;
  std::map<std::string, std::size_t> index_;
  std::map<std::string, Variable> counters_;  // their values are in order in counts_
  Tensor values_, gradients_, buffers_, counts_;
  Tensor rounded_;  // the values in 16 bits, where the precision is that
};

}  // namespace omniconv
