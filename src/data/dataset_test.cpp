#include "data/dataset.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace plimsoll {
namespace {

// A tokenizer of bytes: id = byte + 3, BOS 1 when special tokens are asked for. EOS is 2.
std::vector<int32_t> encode_bytes(std::string_view text, bool add_special) {
  std::vector<int32_t> ids;
  if (add_special) ids.push_back(1);
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c) + 3);
  return ids;
}

EncodedText encode_bytes_with_offsets(std::string_view text, bool add_special) {
  EncodedText out;
  out.ids = encode_bytes(text, add_special);
  if (add_special) out.byte_offsets.emplace_back(0, 0);
  for (int64_t i = 0; i < static_cast<int64_t>(text.size()); ++i) out.byte_offsets.emplace_back(i, i + 1);
  return out;
}

const char* const kTemplate =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% "
    "endif %}";

class DatasetTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / ("dataset" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    options_.vocab_size = 300;
    options_.eos_token_id = 2;
    options_.encode = encode_bytes;
    options_.encode_with_offsets = encode_bytes_with_offsets;
    options_.chat_template = &template_;
    options_.cache_folder = folder_;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& text) {
    const std::filesystem::path path = folder_ / "data.jsonl";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  TokenizedDataset load(const std::string& text) {
    const std::string path = write(text);
    return TokenizedDataset::from_files({&path, 1}, options_);
  }

  // "LINE: problem" of the error that the text must give.
  std::string error_of(const std::string& text) {
    try {
      load(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::caller);
      EXPECT_FALSE(error.way_out().empty());
      const std::string file = (folder_ / "data.jsonl").string();
      EXPECT_TRUE(error.thing().starts_with(file)) << error.thing();
      return error.thing().substr(std::min(file.size() + 1, error.thing().size())) + ": " + error.problem();
    }
    return "no error";
  }

  // The counted labels as text, '.' for ignored ones.
  static std::string learned(const TokenizedDataset& dataset, int64_t example) {
    std::vector<int32_t> ids(static_cast<size_t>(dataset.length(example))), labels(ids.size());
    dataset.read(example, ids, labels);
    std::string out;
    for (size_t i = 0; i < labels.size(); ++i) {
      EXPECT_TRUE(labels[i] == kIgnoredLabel || labels[i] == ids[i]);
      out += labels[i] == kIgnoredLabel ? '.'
             : labels[i] == 1           ? '^'
             : labels[i] == 2           ? '$'
                                        : static_cast<char>(labels[i] - 3);
    }
    return out;
  }

  std::filesystem::path folder_;
  ChatTemplate template_{kTemplate};
  DatasetOptions options_;
};

TEST_F(DatasetTest, TextGetsSpecialTokensAndOneEos) {
  const TokenizedDataset dataset = load("{\"text\": \"ab\"}\n{\"text\": \"c\"}\n");
  ASSERT_EQ(dataset.size(), 2);
  EXPECT_EQ(learned(dataset, 0), "^ab$");
  EXPECT_EQ(learned(dataset, 1), "^c$");
  EXPECT_EQ(dataset.report().tokens, 7);
  EXPECT_EQ(dataset.report().counted_tokens, 5);
  EXPECT_EQ(dataset.disk_bytes(), 7 * 8);
  EXPECT_EQ(dataset.bytes(), 3 * 8);
}

TEST_F(DatasetTest, LineEndsBlankLinesAndByteOrderMark) {
  const TokenizedDataset dataset = load("\xEF\xBB\xBF{\"text\": \"ab\"}\r\n\n  \t\r\n{\"text\": \"c\"}");
  ASSERT_EQ(dataset.size(), 2);
  EXPECT_EQ(learned(dataset, 1), "^c$");
}

// A tokenizer with a token for "me" alone, so that "pri" + "me" is cut inside it.
TEST_F(DatasetTest, PromptsThatEndInsideATokenAreCounted) {
  const auto bytes = options_.encode;
  options_.encode = [&](std::string_view text, bool add_special) {
    std::vector<int32_t> ids = bytes(text, add_special), out;
    for (size_t i = 0; i < ids.size(); ++i) {
      const bool pair =
          i + 1 < ids.size() && ids[i] == encode_bytes("m", false)[0] && ids[i + 1] == encode_bytes("e", false)[0];
      out.push_back(pair ? options_.vocab_size - 1 : ids[i]);
      i += pair ? 1 : 0;
    }
    return out;
  };
  const TokenizedDataset dataset = load(R"({"prompt": "pri", "completion": "me"}
{"prompt": "prim", "completion": "e time"}
{"prompt": "", "completion": "me"}
{"prompt": "m", "completion": "ee"}
{"text": "me"})");
  EXPECT_EQ(dataset.report().prompts_cut, 2);
  EXPECT_TRUE(dataset.report().first_prompt_cut.ends_with(":2")) << dataset.report().first_prompt_cut;
  EXPECT_NE(describe_cut_prompts(dataset.report()).find("in 2 rows"), std::string::npos);
  EXPECT_EQ(describe_cut_prompts({}), "");
}

TEST_F(DatasetTest, ChatLearnsAllOrOnlyTheAssistant) {
  const std::string row =
      R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "é"}]})";
  EXPECT_EQ(learned(load(row), 0), "<user>hi</><assistant>yo</><user>q</><assistant>é</>");
  options_.loss_on = LossOn::assistant;
  EXPECT_EQ(learned(load(row), 0), std::string(22, '.') + "yo</>" + std::string(21, '.') + "é</>");
}

TEST_F(DatasetTest, AssistantSpansFromGenerationBlocks) {
  const ChatTemplate marked(
      "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% "
      "endgeneration %}{% else %}{{ m.content }}{% endif %}</>{% endfor %}");
  options_.chat_template = &marked;
  options_.loss_on = LossOn::assistant;
  EXPECT_EQ(
      learned(load(R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]})"), 0),
      std::string(22, '.') + "yo...");
}

TEST_F(DatasetTest, TemplateThatRewritesThePastIsRefusedForAssistantLoss) {
  const ChatTemplate shifting(
      "{{ messages | length }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}");
  options_.chat_template = &shifting;
  options_.loss_on = LossOn::assistant;
  const std::string error = error_of(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})");
  EXPECT_NE(error.find("loss on assistant tokens is not possible with this template"), std::string::npos) << error;
}

TEST_F(DatasetTest, PromptAndCompletion) {
  const std::string row = R"({"prompt": "2+2=", "completion": "4"})";
  EXPECT_EQ(learned(load(row), 0), "^2+2=4$");
  options_.loss_on = LossOn::assistant;
  EXPECT_EQ(learned(load(row), 0), ".....4$");
  EXPECT_EQ(
      learned(
          load(
              R"({"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "yo"}]})"),
          0),
      std::string(22, '.') + "yo</>");
}

TEST_F(DatasetTest, ReadyRows) {
  options_.loss_on = LossOn::assistant;  // does not touch ready labels
  const TokenizedDataset dataset = load(R"({"input_ids": [5, 6, 7, 8], "labels": [-100, 6, 9, -100]}
{"input_ids": [5, 6, 0], "attention_mask": [1, 1, 0]})");
  std::vector<int32_t> ids(4), labels(4);
  dataset.read(0, ids, labels);
  EXPECT_EQ(ids, (std::vector<int32_t>{5, 6, 7, 8}));
  EXPECT_EQ(labels, (std::vector<int32_t>{-100, 6, 9, -100}));
  ids.resize(3);
  labels.resize(3);
  dataset.read(1, ids, labels);
  EXPECT_EQ(ids, (std::vector<int32_t>{5, 6, -1}));
  EXPECT_EQ(labels, (std::vector<int32_t>{5, 6, -100}));
  EXPECT_EQ(dataset.report().counted_tokens, 3);
}

TEST_F(DatasetTest, LongRowsAreCutAndCounted) {
  options_.seq_len = 4;
  const TokenizedDataset dataset = load("{\"text\": \"abcdefg\"}\n{\"text\": \"a\"}\n");
  EXPECT_EQ(learned(dataset, 0), "^abc");
  EXPECT_EQ(dataset.report().truncated_rows, 1);
  EXPECT_EQ(dataset.report().truncated_tokens, 5);
  EXPECT_EQ(to_string(dataset.report(), 4), "2 rows, 7 tokens (5 counted); 1 rows cut to 4 tokens, 5 tokens lost");
}

TEST_F(DatasetTest, RowsWithNothingToLearnAreLeftOut) {
  options_.seq_len = 10;
  options_.loss_on = LossOn::assistant;  // the cut takes all of the first answer
  const TokenizedDataset dataset =
      load(R"({"messages": [{"role": "user", "content": "a long question"}, {"role": "assistant", "content": "b"}]}
{"prompt": "a", "completion": "b"})");
  EXPECT_EQ(dataset.size(), 1);
  EXPECT_EQ(dataset.report().rows_without_target, 1);
  EXPECT_NE(error_of("\n").find("there is nothing to learn in it"), std::string::npos);
}

TEST_F(DatasetTest, BadRowsNameFileLineAndReason) {
  const std::string good = "{\"text\": \"a\"}\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{\"text\": ", "2: parse error"},
      {"[1]", "2: the line is not a JSON object"},
      {"17", "2: the line is not a JSON object"},
      {"{}", "2: the row has none of the known keys, only: none at all"},
      {R"({"txt": "a", "id": 1})", "2: the row has none of the known keys, only: txt, id"},
      {R"({"text": 1})", "2: text is not a string"},
      {R"({"text": "a"} {"text": "b"})", "2: parse error"},
      {"{\"text\": \"\xFF\xFE\"}", "2: parse error"},
      {"{\"text\": \"\\ud800\"}", "2: parse error"},
      {R"({"input_ids": []})", "2: input_ids is empty"},
      {R"({"input_ids": [1, 300]})", "2: input_ids[1] is 300, not an integer from 0 to 299"},
      {R"({"input_ids": [-1]})", "2: input_ids[0] is -1"},
      {R"({"input_ids": [1.0]})", "2: input_ids[0] is 1.0"},
      {R"({"input_ids": [99999999999999999999999999]})", "2: input_ids[0] is 99999999999999999999999999"},
      {R"({"input_ids": [1e400]})", "2: number overflow"},
      {R"({"input_ids": "abc"})", "2: input_ids is not a list"},
      {R"({"input_ids": [1, 2], "labels": [1]})", "2: labels has 1 values and input_ids 2"},
      {R"({"input_ids": [1, 2], "labels": [1, -99]})", "2: labels[1] is -99"},
      {R"({"input_ids": [1, 2, 3], "attention_mask": [1, 0, 1]})", "2: attention_mask has a 0 between ones"},
      {R"({"input_ids": [1, 2, 3], "attention_mask": [1, 2, 1]})", "2: attention_mask[1] is 2"},
      {R"({"messages": []})", "2: messages is empty"},
      {R"({"messages": ["hi"]})", "2: messages: is not a list of objects"},
      {R"({"prompt": "a", "completion": ["b"]})", "2: prompt and completion are neither"},
      {"{\"text\": " + std::string(500, '[') + std::string(500, ']') + "}", "2: JSON is nested more than 128 deep"},
  };
  for (const auto& [row, problem] : cases) {
    EXPECT_TRUE(error_of(good + row + "\n").starts_with(problem))
        << row.substr(0, 80) << "\n  " << error_of(good + row + "\n");
  }
}

TEST_F(DatasetTest, TokensOutsideTheVocabularyAndMissingParts) {
  options_.vocab_size = 100;
  EXPECT_EQ(error_of("{\"text\": \"~\"}"), "1: token id 129 is outside the vocabulary of 100");
  options_.vocab_size = 300;
  options_.chat_template = nullptr;
  EXPECT_EQ(error_of(R"({"messages": [{"role": "user", "content": "a"}]})"),
            "1: the row is a chat, and the model has no chat template");
  options_.loss_on = LossOn::assistant;
  EXPECT_EQ(error_of("{\"text\": \"a\"}"),
            "1: the row is plain text, and the loss is asked for on assistant tokens only");
}

// What the rows teach, one string an example.
TEST_F(DatasetTest, ShapesOfRows) {
  options_.loss_on = LossOn::assistant;
  const std::string user = "<user>hi</><assistant>", asked(user.size(), '.');
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]})", asked + "yo</>"},
      {R"({"conversations": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]})",
       asked + "yo</>"},
      {R"({"system": "s", "conversations": [{"from": "user", "value": "hi"}, {"from": "assistant", "value": "yo"}]})",
       std::string(12, '.') + asked + "yo</>"},
      {R"({"instruction": "hi", "output": "yo"})", asked + "yo</>"},
      {R"({"instruction": "hi", "input": "", "output": "yo"})", asked + "yo</>"},
      {R"({"instruction": "h", "input": "i", "output": "yo"})", "." + asked + "yo</>"},
      {R"({"instruction": "hi", "output": "yo", "history": [["a", "b"]]})",
       std::string(10, '.') + std::string(11, '.') + "b</>" + asked + "yo</>"},
      {R"({"question": "hi", "answer": "yo"})", asked + "yo</>"},
      {R"({"prompt": "hi", "response": "yo"})", asked + "yo</>"},
      {R"({"prompt": "hi", "completion": "yo"})", "...yo$"},
  };
  for (const auto& [row, expected] : cases) EXPECT_EQ(learned(load(row), 0), expected) << row;
}

TEST_F(DatasetTest, InstructionsWithoutChatTemplateHaveTheAlpacaLayout) {
  options_.chat_template = nullptr;
  EXPECT_EQ(
      learned(load(R"({"instruction": "Add.", "input": "1 1", "output": "2"})"), 0),
      "^Below is an instruction that describes a task, paired with an input that provides further context. Write a "
      "response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 1\n\n### "
      "Response:\n2$");
  EXPECT_EQ(learned(load(R"({"instruction": "Say a.", "output": "a", "system": "Be short."})"), 0),
            "^Be short.\n\n### Instruction:\nSay a.\n\n### Response:\na$");
  options_.loss_on = LossOn::assistant;
  const std::string counted = learned(load(R"({"instruction": "Say a.", "output": "ab"})"), 0);
  EXPECT_EQ(counted.substr(counted.find_first_not_of('.')), "ab$");
}

TEST_F(DatasetTest, ShapeAndColumnsCanBeForced) {
  const std::string row = R"({"text": "a", "body": "b", "prompt": "c", "completion": "d"})";
  EXPECT_EQ(learned(load(row), 0), "^cd$");
  options_.shape = DataShape::text;
  EXPECT_EQ(learned(load(row), 0), "^a$");
  options_.fields = {"text=body"};
  EXPECT_EQ(learned(load(row), 0), "^b$");
  EXPECT_EQ(error_of(R"({"prompt": "c", "completion": "d"})"),
            "1: the row is not of the shape text, its columns are: prompt, completion");
  options_.shape = DataShape::automatic;
  options_.fields = {"prompt=text", "completion=body"};
  EXPECT_EQ(learned(load(row), 0), "^ab$");
}

TEST_F(DatasetTest, PreferencePairsAreCheckedAndNotTrained) {
  const std::string texts = R"({"prompt": "q", "chosen": "a", "rejected": "bc"})";
  const std::string chats =
      R"({"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]})";
  for (const std::string& row : {texts, chats}) {
    const std::string error = error_of(row);
    EXPECT_TRUE(error.starts_with("1: is a preference pair")) << error;
  }
  options_.bad_rows = BadRows::skip;  // it is no bad row
  EXPECT_TRUE(error_of(texts).starts_with("1: is a preference pair"));
  options_.bad_rows = BadRows::fail;
  options_.take_preferences = true;
  std::vector<std::pair<size_t, size_t>> sides;
  options_.on_row = [&](const TokenizedRow& row) { sides.emplace_back(row.ids.size(), row.rejected_ids.size()); };
  EXPECT_EQ(learned(load(texts), 0), "^qa$");
  EXPECT_EQ(learned(load(chats), 0), "<user>q</><assistant>a</>");
  EXPECT_EQ(sides, (std::vector<std::pair<size_t, size_t>>{{4, 5}, {25, 25}}));
  const std::vector<std::pair<std::string, std::string>> bad = {
      {R"({"chosen": "a", "rejected": "a"})", "1: chosen and rejected are the same"},
      {R"({"chosen": "a", "rejected": []})", "1: chosen and rejected are neither"},
      {R"({"chosen": "a", "rejected": 1})", "1: chosen and rejected are neither"},
      {R"({"chosen": [], "rejected": ["a"]})", "1: messages is empty"},
      {R"({"prompt": [], "chosen": "a", "rejected": "b"})", "1: prompt is not a string"},
  };
  for (const auto& [row, problem] : bad) EXPECT_TRUE(error_of(row).starts_with(problem)) << error_of(row);
  options_.take_preferences = false;
  options_.fields = {"completion=chosen"};
  EXPECT_EQ(learned(load(texts), 0), "^qa$");
  options_.fields = {"messages=chosen"};
  EXPECT_EQ(learned(load(chats), 0), "<user>q</><assistant>a</>");
}

TEST_F(DatasetTest, BadShapesSayWhatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"conversations": "x"})", "conversations is not a list"},
      {R"({"conversations": []})", "conversations is empty"},
      {R"({"conversations": ["x"]})", "conversations[0] is not an object"},
      {R"({"conversations": [{"from": "human"}]})", "conversations[0] has no `from` and `value`"},
      {R"({"conversations": [{"from": "alien", "value": "a"}]})", "conversations[0] is from 'alien'"},
      {R"({"system": 1, "conversations": [{"from": "human", "value": "a"}]})", "system is not a string"},
      {R"({"instruction": 1, "output": "a"})", "instruction is not a string"},
      {R"({"instruction": "a", "input": 1, "output": "a"})", "input is not a string"},
      {R"({"instruction": "a", "output": "a", "history": [1]})", "history has an entry"},
      {R"({"instruction": "a", "output": "a", "tools": "{"})", "parse error"},
  };
  for (const auto& [row, problem] : cases)
    EXPECT_TRUE(error_of(row).starts_with("1: " + problem)) << row << "\n" << error_of(row);
}

TEST_F(DatasetTest, BadRowsAreSkippedAndCountedOrAllNamed) {
  std::string text;
  for (int i = 0; i < 30; ++i) text += i % 2 == 0 ? "{\"text\": \"a\"}\n" : "{\"text\": " + std::to_string(i) + "}\n";
  EXPECT_EQ(error_of(text), "2: text is not a string (and 9 more bad rows, at least)");
  EXPECT_EQ(error_of("{}\n{\"text\": \"a\"}\n{}\n").substr(0, 60),
            std::string("1: the row has none of the known keys, only: none at all (and 1").substr(0, 60));
  options_.bad_rows = BadRows::skip;
  const TokenizedDataset dataset = load(text);
  EXPECT_EQ(dataset.size(), 15);
  EXPECT_EQ(dataset.report().bad_rows, 15);
  ASSERT_EQ(dataset.report().first_bad.size(), kShownBadRows);
  EXPECT_TRUE(dataset.report().first_bad[9].place.ends_with(":20"));
  EXPECT_EQ(dataset.report().first_bad[9].problem, "text is not a string");
  EXPECT_NE(to_string(dataset.report(), 512).find("; 15 bad rows left out"), std::string::npos);
  EXPECT_NE(error_of("{}\n").find("there is nothing to learn in it"), std::string::npos);
}

TEST_F(DatasetTest, LongRowsAreDroppedOrSplit) {
  options_.seq_len = 4;
  const std::string text = "{\"text\": \"abcdefg\"}\n{\"text\": \"a\"}\n";
  options_.overlong = Overlong::drop;
  const TokenizedDataset dropped = load(text);
  ASSERT_EQ(dropped.size(), 1);
  EXPECT_EQ(learned(dropped, 0), "^a$");
  EXPECT_EQ(to_string(dropped.report(), 4),
            "1 rows, 3 tokens (2 counted); 1 rows of more than 4 tokens left out, 9 tokens lost");
  options_.overlong = Overlong::split;
  const TokenizedDataset split = load(text);  // ^abc defg $: the last piece has nothing to learn
  ASSERT_EQ(split.size(), 3);
  EXPECT_EQ(learned(split, 0), "^abc");
  EXPECT_EQ(learned(split, 1), "defg");
  EXPECT_EQ(learned(split, 2), "^a$");
  EXPECT_EQ(split.report().split_rows, 1);
  EXPECT_EQ(split.report().split_pieces, 3);
}

TEST_F(DatasetTest, IndexInMemoryOrOnDiskIsTheSame) {
  std::string text;
  for (int i = 1; i < 300; ++i) text += "{\"text\": \"" + std::string(static_cast<size_t>(i % 37), 'x') + "y\"}\n";
  const TokenizedDataset memory = load(text);
  options_.examples_in_memory = 298;
  const TokenizedDataset disk = load(text);
  EXPECT_EQ(memory.bytes(), 300 * 8);
  EXPECT_EQ(disk.bytes(), 0);
  ASSERT_EQ(memory.size(), disk.size());
  for (int64_t i = 0; i < memory.size(); ++i) {
    ASSERT_EQ(memory.length(i), disk.length(i));
    EXPECT_EQ(learned(memory, i), learned(disk, i));
  }
}

// A long document comes in pieces; together they are the document, with one BOS and one EOS.
TEST_F(DatasetTest, PlainTextIsOneDocumentAFile) {
  std::string text;
  for (int i = 0; text.size() < 3 * kTextPieceBytes; ++i)
    text += "Line " + std::to_string(i) + (i % 7 == 0 ? "\n\n" : "\n");
  const std::string path = folder_ / "book.txt";
  std::ofstream(path, std::ios::binary) << text;
  options_.seq_len = 1000;
  const TokenizedDataset dataset = TokenizedDataset::from_files({&path, 1}, options_);
  std::string all;
  for (int64_t i = 0; i < dataset.size(); ++i) all += learned(dataset, i);
  EXPECT_EQ(all, "^" + text + "$");
  EXPECT_EQ(dataset.report().files[0].rows, 4);
  EXPECT_EQ(dataset.report().truncated_rows, 0);
  EXPECT_EQ(describe_files(dataset.report()), path + ": text, 4 rows; shape: text");
}

TEST_F(DatasetTest, MissingFilesAndFolders) {
  const std::string missing = folder_ / "none.jsonl";
  EXPECT_THROW(TokenizedDataset::from_files({&missing, 1}, options_), Error);
  options_.cache_folder = folder_ / "none";
  EXPECT_THROW(load("{\"text\": \"a\"}"), Error);
}

TEST_F(DatasetTest, LeavesNoFileBehind) {
  const TokenizedDataset dataset = load("{\"text\": \"a\"}");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);  // data.jsonl
}

TEST_F(DatasetTest, ManyKeysInOneRowAreNotQuadratic) {
  std::string row = "{\"text\": \"a\"";
  for (int i = 0; i < 200000; ++i) row += ", \"k" + std::to_string(i) + "\": 0";
  EXPECT_EQ(load(row + "}").size(), 1);
}

}  // namespace
}  // namespace plimsoll
