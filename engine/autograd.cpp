#include "engine/autograd.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace omniconv {

Variable::Variable(Tensor value, bool requires_grad) : node_(std::make_shared<Node>()) {
  node_->value = std::move(value);
  node_->requires_grad = requires_grad;
}

Variable Variable::declare(bool requires_grad) {
  return Variable(Tensor(), requires_grad);
}

void Variable::bind(Tensor value, Tensor gradient, Tensor copy) const {
  expect(!gradient.defined() || (gradient.shape() == value.shape() && gradient.dtype() == value.dtype()), "variable",
         "expected a gradient of shape ", value.shape(), ", got ", gradient.shape());
  node_->value = std::move(value);
  node_->gradient = std::move(gradient);
  node_->copy = std::move(copy);
  node_->has_gradient = false;
}

const Tensor& Variable::value() const {
  expect(defined() && node_->value.defined(), "variable", "expected a variable with a value, got an empty one");
  return node_->value;
}

const Tensor& Variable::value_in(DType dtype, std::string_view where) const {
  const Tensor& own = value();
  if (own.dtype() == dtype) return own;
  const Tensor& copy = node_->copy;
  expect(copy.defined() && copy.dtype() == dtype, where, "expected input of ", name_of(own.dtype()),
         copy.defined() ? concat(" or ", name_of(copy.dtype())) : std::string(), ", got ", name_of(dtype));
  return copy;
}

bool Variable::requires_grad() const {
  return defined() && node_->requires_grad;
}

Gradient Variable::gradient() const {
  if (!requires_grad()) return {};
  if (!node_->gradient.defined()) node_->gradient = Tensor::empty(node_->value.shape(), node_->value.dtype());
  const bool first = !std::exchange(node_->has_gradient, true);
  node_->dots = Tensor();  // what was summed is of a part of the gradient now
  return {node_->gradient, first ? GradientMode::overwrite : GradientMode::accumulate};
}

Tensor Variable::grad() const {
  return defined() && node_->has_gradient ? node_->gradient : Tensor();
}

Variable Variable::pool() const {
  return defined() ? Variable(node_->pool) : Variable();
}

void Variable::attach_pool(Tensor pool) const {
  node_->pool = Variable(std::move(pool), requires_grad()).node_;
}

void Variable::attach_moments(Moments moments) const {
  node_->moments = std::move(moments);
}

Moments Variable::take_moments() const {
  return std::exchange(node_->moments, {});
}

void Variable::want_dots() const {
  node_->dots_wanted = true;
}

Tensor Variable::dots_of(const Gradient& gradient, std::int64_t parts) const {
  if (!requires_grad() || !node_->dots_wanted || gradient.mode != GradientMode::overwrite) return {};
  const Shape& extents = shape();
  return node_->dots = Tensor::empty({extents.front(), parts, extents.back()}, compute_dtype(value().dtype()));
}

Tensor Variable::Node::take_gradient() {
  return std::exchange(has_gradient, false) ? std::exchange(gradient, Tensor()) : Tensor();
}

Arriving Variable::Node::take_arriving() {
  return {take_gradient(), pool ? pool->take_gradient() : Tensor(), std::exchange(dots, Tensor())};
}

void Variable::begin_gradient() const {
  node_->has_gradient = false;
}

void Variable::finish_gradient() const {
  if (requires_grad() && !std::exchange(node_->has_gradient, true)) node_->gradient.set_zero();
}

bool Tape::needs_backward(std::initializer_list<const Variable*> inputs) const {
  if (!recording_) return false;
  for (const Variable* input : inputs) {
    if (input->requires_grad()) return true;
  }
  return false;
}

Variable Tape::record(std::string operation, Tensor output, Backward backward) {
  return record(
      std::move(operation), std::move(output),
      BackwardOfAll([backward = std::move(backward)](const Arriving& arriving) { backward(arriving.d_output); }));
}

Variable Tape::record(std::string operation, Tensor output, BackwardOfAll backward) {
  Variable variable(std::move(output), true);
  entries_.push_back(
      {std::move(operation),
       layer_,
       {variable},
       [backward = std::move(backward)](const std::vector<Arriving>& arriving) { backward(arriving[0]); }});
  return variable;
}

std::vector<Variable> Tape::record(std::string operation, const std::vector<Tensor>& outputs,
                                   BackwardOfSeveral backward) {
  std::vector<Variable> variables;
  for (const Tensor& output : outputs) variables.push_back(output.defined() ? Variable(output, true) : Variable());
  entries_.push_back({std::move(operation), layer_, variables,
                      [backward = std::move(backward)](const std::vector<Arriving>& arriving) {
                        std::vector<Tensor> d_outputs;
                        for (const Arriving& one : arriving) d_outputs.push_back(one.d_output);
                        backward(d_outputs);
                      }});
  return variables;
}

std::string Tape::first_not_finite() const {
  for (const Entry& entry : entries_) {
    for (const Variable& output : entry.outputs) {
      if (!output.defined()) continue;
      const std::vector<double> values = output.value().to_doubles();
      if (!std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); }))
        return entry.layer.empty() ? entry.operation : concat(entry.layer, " (", entry.operation, ')');
    }
  }
  return {};
}

void Tape::backward(const Variable& loss) {
  expect(loss.value().count() == 1, "backward", "expected a scalar loss, got shape ", loss.shape());
  Tensor one = Tensor::empty(loss.shape(), loss.value().dtype());
  dispatch("backward", one.dtype(), [&](auto zero) {
    const decltype(zero) value = 1;
    one.copy_from_host(&value);
  });
  backward(loss, one);
}

void Tape::backward(const Variable& output, const Tensor& d_output) {
  expect(output.shape() == d_output.shape(), "backward", "expected a gradient of shape ", output.shape(), ", got ",
         d_output.shape());
  expect(!entries_.empty() && output.requires_grad(), "backward", "expected an output recorded on this tape");
  const Gradient seed = output.gradient();
  seed.tensor.copy_from(d_output);
  while (!entries_.empty()) {
    Entry entry = std::move(entries_.back());
    entries_.pop_back();
    // Nothing reads an intermediate gradient any more afterwards; its memory serves the next operation.
    std::vector<Arriving> arriving;
    bool any = false;
    for (const Variable& variable : entry.outputs) {
      arriving.push_back(variable.defined() ? variable.node_->take_arriving() : Arriving{});
      any = any || arriving.back().d_output.defined() || arriving.back().d_pool.defined();
    }
    if (any) entry.backward(arriving);
  }
}

}  // namespace omniconv
