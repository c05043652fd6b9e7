#include "data/tokenizer/pre_tokenizer.h"

#include <utility>

#include "data/tokenizer/unicode.h"

namespace plimsoll::tokenizer {
namespace {

using Step = PreTokenizerStep;
using Kind = PreTokenizerStep::Kind;

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

SplitBehavior parse_behavior(const JsonSection& section, std::string_view fallback) {
  const std::string name = section.string_or("behavior", fallback);
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  section.fail("the behavior \"" + name + "\" is not known");
}

Step parse_metaspace(const JsonSection& section) {
  Step step{.kind = Kind::metaspace,
            .split_words = section.boolean_or("split", true),
            .replacement = section.string_or("replacement", "\xe2\x96\x81")};
  // Files before tokenizers 0.14 say add_prefix_space where later ones say prepend_scheme.
  const std::string scheme =
      section.string_or("prepend_scheme", section.boolean_or("add_prefix_space", true) ? "always" : "never");
  step.prefix_always = scheme == "always";
  step.prefix_first = scheme == "first";
  if (step.replacement.empty() || utf8_length(step.replacement[0]) != step.replacement.size())
    section.fail("\"replacement\" must be one character");
  if (!step.prefix_always && !step.prefix_first && scheme != "never")
    section.fail("the prepend_scheme \"" + scheme + "\" is not known");
  return step;
}

void parse_step(const JsonSection& section, int depth, std::vector<Step>& out) {
  if (depth > kMaxSectionDepth || out.size() >= kMaxSectionSteps) section.fail("too many pre-tokenizers in each other");
  const std::string type = section.type();
  if (type == "Sequence") {
    for (const nlohmann::json& inner : section.array("pretokenizers")) parse_step(section.at(inner), depth + 1, out);
  } else if (type == "Split") {
    out.push_back({.kind = Kind::split,
                   .behavior = parse_behavior(section, "Isolated"),
                   .invert = section.boolean_or("invert", false),
                   .regex = std::make_shared<Regex>(section.pattern())});
  } else if (type == "ByteLevel") {
    Step step{.kind = Kind::byte_level, .prefix_space = section.boolean_or("add_prefix_space", true)};
    if (section.boolean_or("use_regex", true)) step.regex = std::make_shared<Regex>(kGpt2Pattern, section.source);
    out.push_back(std::move(step));
  } else if (type == "Metaspace") {
    out.push_back(parse_metaspace(section));
  } else if (type == "Digits") {
    out.push_back({.kind = Kind::digits,
                   .behavior = section.boolean_or("individual_digits", false) ? SplitBehavior::isolated
                                                                              : SplitBehavior::contiguous});
  } else if (type == "Punctuation") {
    out.push_back({.kind = Kind::punctuation, .behavior = parse_behavior(section, "Isolated")});
  } else if (type == "WhitespaceSplit") {
    out.push_back({.kind = Kind::whitespace, .behavior = SplitBehavior::removed});
  } else if (type == "Whitespace") {  // Rust's \w, to which the joiners belong
    out.push_back(
        {.kind = Kind::split,
         .behavior = SplitBehavior::removed,
         .invert = true,
         .regex = std::make_shared<Regex>(
             R"([\w\x{200c}\x{200d}]+|[^\s\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}]+)", section.source)});
  } else if (type == "CharDelimiterSplit") {
    const std::string delimiter = section.string("delimiter");
    if (delimiter.empty() || utf8_length(delimiter[0]) != delimiter.size())
      section.fail("\"delimiter\" must be one character");
    size_t at = 0;
    out.push_back({.kind = Kind::delimiter, .behavior = SplitBehavior::removed, .delimiter = next_char(delimiter, at)});
  } else {
    section.fail("the kind \"" + type + "\" is not supported");
  }
}

// Joins consecutive pieces as the behavior says and hands them on.
template <typename Next>
class Joiner {
 public:
  Joiner(SplitBehavior behavior, bool invert, Next next)
      : behavior_(behavior), invert_(invert), next_(std::move(next)) {}

  void operator()(size_t begin, size_t end, bool match) {
    match ^= invert_;
    switch (behavior_) {
      case SplitBehavior::removed:
        if (!match) next_(begin, end);
        return;
      case SplitBehavior::isolated:
        next_(begin, end);
        return;
      case SplitBehavior::contiguous:
        join(begin, end, match == last_match_ && open_);
        break;
      case SplitBehavior::merged_with_previous:
        join(begin, end, match && !last_match_ && open_);
        break;
      case SplitBehavior::merged_with_next:
        join(begin, end, !match && last_match_ && open_);
        break;
    }
    last_match_ = match;
  }

  void finish() {
    if (open_) next_(begin_, end_);
  }

 private:
  void join(size_t begin, size_t end, bool with_last) {
    if (!with_last) {
      if (open_) next_(begin_, end_);
      begin_ = begin;
      open_ = true;
    }
    end_ = end;
  }

  SplitBehavior behavior_;
  bool invert_;
  Next next_;
  bool open_ = false, last_match_ = false;
  size_t begin_ = 0, end_ = 0;
};

bool in_class(const Step& step, char32_t c) {
  switch (step.kind) {
    case Kind::digits:
      return is_number(c);
    case Kind::punctuation:
      return is_punctuation(c);
    case Kind::whitespace:
      return is_whitespace(c);
    default:
      return c == step.delimiter;
  }
}

template <typename Piece>
void for_each_in_class(const Step& step, std::string_view text, Piece&& piece) {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (!in_class(step, next_char(text, at))) continue;
    if (done < begin) piece(done, begin, false);
    piece(begin, at, true);
    done = at;
  }
  if (done < text.size()) piece(done, text.size(), false);
}

class Run {
 public:
  Run(const PreTokenizer& pre_tokenizer, PreTokenizerScratch& scratch, RegexScratch& regex, PieceSink& sink)
      : pre_(pre_tokenizer), scratch_(scratch), regex_(regex), sink_(sink) {
    if (scratch_.buffers.size() < pre_.steps.size()) scratch_.buffers.resize(pre_.steps.size());
  }

  void step(size_t index, std::string_view text, bool at_start) {
    if (text.empty()) return;
    if (index == pre_.steps.size()) {
      sink_.piece(text);
      return;
    }
    const Step& step = pre_.steps[index];
    switch (step.kind) {
      case Kind::split:
        split(index, text, at_start, step.behavior, step.invert);
        break;
      case Kind::byte_level:
        byte_level(index, text, at_start);
        break;
      case Kind::metaspace:
        metaspace(index, text, at_start);
        break;
      default:
        classes(index, text, at_start);
        break;
    }
  }

 private:
  auto next_of(size_t index, std::string_view text, bool at_start) {
    return [this, index, text, at_start](size_t begin, size_t end) {
      step(index + 1, text.substr(begin, end - begin), at_start && begin == 0);
    };
  }

  void split(size_t index, std::string_view text, bool at_start, SplitBehavior behavior, bool invert) {
    Joiner joiner(behavior, invert, next_of(index, text, at_start));
    for_each_match(*pre_.steps[index].regex, text, regex_, joiner);
    joiner.finish();
  }

  void classes(size_t index, std::string_view text, bool at_start) {
    const Step& current = pre_.steps[index];
    Joiner joiner(current.behavior, false, next_of(index, text, at_start));
    for_each_in_class(current, text, joiner);
    joiner.finish();
  }

  void byte_level(size_t index, std::string_view text, bool at_start) {
    const Step& current = pre_.steps[index];
    std::string& buffer = scratch_.buffers[index];
    if (current.prefix_space && text.front() != ' ') {
      buffer.assign(1, ' ');
      buffer += text;
      text = buffer;
    }
    const bool last = index + 1 == pre_.steps.size();
    std::string chars;
    const auto piece = [&](size_t begin, size_t end, bool) {
      if (last) {
        sink_.piece(text.substr(begin, end - begin));
        return;
      }
      chars.clear();
      append_byte_chars(text.substr(begin, end - begin), chars);
      step(index + 1, chars, at_start && begin == 0);
    };
    if (current.regex) {
      for_each_match(*current.regex, text, regex_, [&](size_t begin, size_t end, bool match) {
        if (begin != end) piece(begin, end, match);
      });
    } else {
      piece(0, text.size(), false);
    }
  }

  void metaspace(size_t index, std::string_view text, bool at_start) {
    const Step& current = pre_.steps[index];
    std::string& buffer = scratch_.buffers[index];
    const bool has_prefix = text.front() == ' ' || text.starts_with(current.replacement);
    buffer.clear();
    if (!has_prefix && (current.prefix_always || (current.prefix_first && at_start))) buffer = current.replacement;
    for (const char c : text) {
      if (c == ' ') buffer += current.replacement;
      else buffer += c;
    }
    const std::string_view changed = buffer;
    if (!current.split_words) {
      step(index + 1, changed, at_start);
      return;
    }
    // Merged with next: a piece begins at every replacement character.
    for (size_t begin = 0; begin < changed.size();) {
      const size_t from =
          changed.substr(begin).starts_with(current.replacement) ? begin + current.replacement.size() : begin;
      const size_t end = std::min(changed.find(current.replacement, from), changed.size());
      step(index + 1, changed.substr(begin, end - begin), at_start && begin == 0);
      begin = end;
    }
  }

  const PreTokenizer& pre_;
  PreTokenizerScratch& scratch_;
  RegexScratch& regex_;
  PieceSink& sink_;
};

void note_bytes_out(PreTokenizer& pre_tokenizer) {
  pre_tokenizer.bytes_out = !pre_tokenizer.steps.empty() && pre_tokenizer.steps.back().kind == Kind::byte_level;
}

}  // namespace

PreTokenizer parse_pre_tokenizer(const JsonSection& section) {
  PreTokenizer pre_tokenizer;
  if (!section.json.is_null()) parse_step(section, 0, pre_tokenizer.steps);
  note_bytes_out(pre_tokenizer);
  return pre_tokenizer;
}

PreTokenizer make_byte_level_splits(const std::vector<std::string>& regexes, std::string_view source) {
  PreTokenizer pre_tokenizer;
  for (const std::string& regex : regexes)
    pre_tokenizer.steps.push_back({.kind = Kind::split, .regex = std::make_shared<Regex>(regex, source)});
  pre_tokenizer.steps.push_back({.kind = Kind::byte_level});
  note_bytes_out(pre_tokenizer);
  return pre_tokenizer;
}

void pre_tokenize(const PreTokenizer& pre_tokenizer, std::string_view text, bool at_start, PreTokenizerScratch& scratch,
                  RegexScratch& regex, PieceSink& sink) {
  Run(pre_tokenizer, scratch, regex, sink).step(0, text, at_start);
}

}  // namespace plimsoll::tokenizer
