// The ops of streamed tensors (ops/state/stream.cpp) on the run's WeightStream.
#pragma once

#include "runtime/executor.h"
#include "runtime/weight_stream.h"

namespace plimsoll {

class StreamServices : public HostServices {
 public:
  // nullptr: nothing is streamed, and an op that wants to is our bug. The stream must outlive the services.
  explicit StreamServices(WeightStream* stream) : stream_(stream) {}

  void lay_out(const std::string& tensor, std::span<const std::byte> data) override {
    if (stream_ == nullptr) return HostServices::lay_out(tensor, data);
    stream_->write(tensor, data);
  }
  void offload(const std::string& tensor, std::span<const std::byte> data) override {
    if (stream_ == nullptr) return HostServices::offload(tensor, data);
    stream_->offload(tensor, data.data());
  }
  void prefetch(const std::string& tensor, std::span<std::byte> out) override {
    if (stream_ == nullptr) return HostServices::prefetch(tensor, out);
    stream_->prefetch(tensor, out.data());
  }
  void await(const std::byte* place) override {
    if (stream_ == nullptr) return HostServices::await(place);
    stream_->await(place);
  }

 private:
  WeightStream* stream_;
};

}  // namespace plimsoll
