// What torch's CPU build lacks to send tensors of a GPU that is not there through autograd:
// a guard for its devices and streams, of which it has one each that never does anything, and the
// answer that CUDA is this machine's accelerator. To be loaded before torch (LD_PRELOAD).

#include <ATen/DeviceAccelerator.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace {

constexpr auto CUDA = c10::DeviceType::CUDA;

struct Guard : c10::impl::NoOpDeviceGuardImpl<CUDA> {
  c10::Device getDevice() const override { return {CUDA, 0}; }
  c10::Device exchangeDevice(c10::Device) const override { return {CUDA, 0}; }
  c10::Stream getStream(c10::Device) const noexcept override { return stream(); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream(); }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }

  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, {CUDA, 0}); }
};

struct Hooks : at::CUDAHooksInterface {
  void init() const override {}
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
};

}  // namespace

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

// In place of torch's own, since a symbol that was loaded before counts.
namespace at::accelerator {
std::optional<c10::DeviceType> getAccelerator(bool) { return CUDA; }
bool isAccelerator(c10::DeviceType type) { return type == CUDA; }
}  // namespace at::accelerator

namespace at::detail {
const CUDAHooksInterface& getCUDAHooks() {
  static const auto* hooks = new Hooks;
  return *hooks;
}
}  // namespace at::detail
