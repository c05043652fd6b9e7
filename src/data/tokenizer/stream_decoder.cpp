#include "data/tokenizer/tokenizer.h"

namespace plimsoll {
namespace {

// A character needs at most four byte tokens. Past this many ids without a whole character the text is not UTF-8 at
// all.
constexpr size_t kMaxPending = 16;

}  // namespace

std::string StreamDecoder::put(int32_t id) {
  ids_.push_back(id);
  std::string text = tokenizer_->decode(ids_, skip_special_);
  const bool incomplete = text.ends_with("\xef\xbf\xbd") && ids_.size() - given_ids_ < kMaxPending;
  if (incomplete || text.size() <= given_text_.size()) {
    if (ids_.size() - given_ids_ >= kMaxPending && text == given_text_)
      ids_.resize(given_ids_);  // ids that say nothing
    return "";
  }
  std::string fresh = text.substr(given_text_.size());
  // The last ids stay as context: what a decoder does at the start of a text must not happen again.
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(given_ids_));
  given_ids_ = ids_.size();
  given_text_ = tokenizer_->decode(ids_, skip_special_);
  return fresh;
}

std::string StreamDecoder::finish() {
  const std::string text = tokenizer_->decode(ids_, skip_special_);
  std::string fresh = text.size() > given_text_.size() ? text.substr(given_text_.size()) : std::string();
  ids_.clear();
  given_ids_ = 0;
  given_text_.clear();
  return fresh;
}

}  // namespace plimsoll
