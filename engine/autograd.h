// A small tape: operations append what their backward needs, backward() walks them in reverse.
//
// An operation reads the values of its input variables, computes, and calls Tape::record with a function that turns
// the gradient of its output into gradients of its inputs. That function asks each input by name for its gradient
// (`Gradient d_input = input.gradient()`) and is told whether to overwrite, to accumulate, or to skip it.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/moments.h"
#include "engine/tensor.h"

namespace omniconv {

/// What a backward function does with a gradient it computes.
enum class GradientMode { ignore, overwrite, accumulate };

/// Where a gradient goes and how it is written there.
struct Gradient {
  Tensor tensor;
  GradientMode mode = GradientMode::ignore;

  bool wanted() const { return mode != GradientMode::ignore; }
  bool accumulate() const { return mode == GradientMode::accumulate; }
};

/// What arrives at an operation in a backward pass.
struct Arriving {
  Tensor d_output;  ///< undefined where the pool alone was read
  Tensor d_pool;    ///< of an output with a pool, if that was read
  Tensor dots;      ///< of d_output and the output, [N, parts, C], if they were wanted and somebody summed them
};

/// A value on the tape. Copies share the value and its gradient.
class Variable {
 public:
  Variable() = default;
  /// A variable holding `value`; with `requires_grad`, backward() computes its gradient.
  explicit Variable(Tensor value, bool requires_grad = false);
  /// A parameter or buffer whose value comes later, with bind().
  static Variable declare(bool requires_grad);

  bool defined() const { return node_ != nullptr; }
  /// Whether both are the same, not merely equal.
  bool is(const Variable& other) const { return node_ == other.node_; }
  const Tensor& value() const;
  /// The value in `dtype`: itself, or its copy in that type, which bind() gave a parameter of a net in 16 bits.
  /// @throws Error naming `where` if there is neither.
  const Tensor& value_in(DType dtype, std::string_view where) const;
  const Shape& shape() const { return value().shape(); }
  bool requires_grad() const;

  /// Where this variable's gradient goes: the first caller of a backward pass overwrites, later ones accumulate,
  /// and a variable that needs none says `ignore`. Every caller must then write what it announced.
  Gradient gradient() const;
  /// The gradient backward() left here; undefined before, or for a variable that needs none.
  Tensor grad() const;

  /// The mean over the pixels of this value, [N, C] of [N, H, W, C], if the operation that made it computed it on the
  /// side (attach_pool); an empty variable otherwise.
  Variable pool() const;
  /// Gives what an operation returns its pool; a gradient of it arrives at the operation (Arriving::d_pool).
  void attach_pool(Tensor pool) const;

  /// Gives what an operation returns the moments of its channels.
  void attach_moments(Moments moments) const;
  /// Hands them out, once: their memory serves others when the norm behind has combined them. Without values where
  /// nobody attached any.
  Moments take_moments() const;

  /// Asks whoever computes the gradient g of this value, [N, ..., C], for Σ g ⊙ value over all but the first and the
  /// last axis, too: Arriving::dots, if it is done.
  void want_dots() const;
  /// Where to write that sum, in parts that add up to it, [N, parts, C] in the type that sums have, beside `gradient`,
  /// which is all of g so far; undefined where it is not wanted or `gradient` is not all.
  Tensor dots_of(const Gradient& gradient, std::int64_t parts) const;

  /// Gives a variable its value and, for a parameter, the place of its gradient and maybe of a copy of its value in
  /// another type: parameters are declared before the arenas that hold them exist.
  void bind(Tensor value, Tensor gradient, Tensor copy = {}) const;

  /// For parameters, around a backward pass: forget the gradient, so that the first writer overwrites; set the
  /// gradient to zero if nobody wrote it.
  void begin_gradient() const;
  void finish_gradient() const;

 private:
  friend class Tape;
  struct Node {
    Tensor value;
    Tensor gradient;
    Tensor copy;  // of the value, in another type
    std::shared_ptr<Node> pool;
    Moments moments;
    Tensor dots;  // of gradient and value
    bool requires_grad = false;
    bool has_gradient = false;
    bool dots_wanted = false;

    /// Hands out the gradient, if there is one, and forgets it.
    Tensor take_gradient();
    Arriving take_arriving();
  };
  explicit Variable(std::shared_ptr<Node> node) : node_(std::move(node)) {}
  std::shared_ptr<Node> node_;
};

/// The operations of one forward pass, in order.
class Tape {
 public:
  using Backward = std::function<void(const Tensor& d_output)>;
  using BackwardOfAll = std::function<void(const Arriving&)>;
  /// What arrives at each of several outputs; undefined for one that nobody read.
  using BackwardOfSeveral = std::function<void(const std::vector<Tensor>& d_outputs)>;

  /// A tape that records nothing, for evaluation, keeps no activations alive.
  explicit Tape(bool recording = true) : recording_(recording) {}

  /// Operations recorded from here on belong to the layer of this prefix ("layer1.0.conv1."), for messages; the text
  /// must outlive the tape.
  void enter(std::string_view prefix) { layer_ = prefix.substr(0, prefix.rfind('.')); }

  /// "layer1.0.conv1 (od_conv2d)": the first operation recorded whose output has an element that is infinite or NaN;
  /// empty if there is none. Waits for the device.
  std::string first_not_finite() const;

  /// True when the operation has to keep what its backward needs: the tape records and some input needs a gradient.
  bool needs_backward(std::initializer_list<const Variable*> inputs) const;

  /// Wraps `output` and keeps `backward` for it. Call it only when needs_backward() said so.
  Variable record(std::string operation, Tensor output, Backward backward);
  /// The same for an output that attach_pool() or want_dots() will be called for.
  Variable record(std::string operation, Tensor output, BackwardOfAll backward);
  /// The same for an operation with several outputs, some of which may be undefined, as their variables are then.
  std::vector<Variable> record(std::string operation, const std::vector<Tensor>& outputs, BackwardOfSeveral backward);

  /// Runs the recorded operations backwards from `loss` ([1]; its gradient is 1), releasing each operation's
  /// saved tensors as soon as it is done. The tape is empty afterwards. @throws Error if `loss` is not on this tape.
  void backward(const Variable& loss);
  /// The same from any output, with its gradient given.
  void backward(const Variable& output, const Tensor& d_output);

 private:
  struct Entry {
    std::string operation;
    std::string_view layer;
    std::vector<Variable> outputs;
    std::function<void(const std::vector<Arriving>&)> backward;
  };
  bool recording_;
  std::string_view layer_;
  std::vector<Entry> entries_;
};

}  // namespace omniconv
