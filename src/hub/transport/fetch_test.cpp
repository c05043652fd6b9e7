// Fetching from a hub in this process that cuts connections, lies, asks for a token, points elsewhere.
#include "hub/transport/fetch.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>

#include "hub/hub_cache.h"
#include "support/hub_server.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

std::string noise(size_t bytes) {
  std::string text(bytes, '\0');
  uint32_t state = 12345;
  for (char& c : text) {
    state = state * 1664525U + 1013904223U;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

constexpr size_t kWeights = 3'000'001;

class Fetch : public ::testing::Test {
 protected:
  Fetch() {
    hub.files = {{"config.json", {"{\"a\": 1}"}},
                 {"generation_config.json", {"{}"}},
                 {"tokenizer.json", {"{\"t\": 1}", true}},
                 {"chat_template.jinja", {"{{ x }}"}},
                 {"model.safetensors", {noise(kWeights), true}},
                 {"tokenizer.model", {"the same again", true}},
                 {"pytorch_model.bin", {"pickle", true}},
                 {"original/consolidated.safetensors", {"other", true}},
                 {"README.md", {"read"}}};
    options.http.endpoint = *parse_url(fmt::format("http://127.0.0.1:{}", hub.port()));
    options.http.read_timeout = std::chrono::seconds(5);
    options.piece_bytes = 500'000;
    options.first_pause = std::chrono::milliseconds(1);
    options.tries = 3;
  }

  std::string fetch(ModelNeed need = ModelNeed::weights, const std::string& name = "org/name") {
    return fetch_model(*parse_hub_id(name), need, folder.path(), options);
  }
  std::string weights_blob() const {
    return folder / ("models--org--name/blobs/" + digest_of(hub.files.at("model.safetensors").content, true));
  }
  std::string partial() const { return weights_blob() + ".plimsoll.incomplete"; }
  void expect_world_error(const std::string& part) {
    const Caught caught = catch_error([&] { fetch(); });
    EXPECT_EQ(caught.kind, ErrorKind::world) << caught.text;
    EXPECT_NE(caught.text.find(part), std::string::npos) << caught.text;
    EXPECT_FALSE(fs::exists(weights_blob()));
    EXPECT_FALSE(fs::exists(folder / "models--org--name/refs/main"));
  }
  // Answers for the weights with `act`, for everything else as it should.
  void on_weights(std::function<bool(const httplib::Request&, httplib::Response&)> act) {
    hub.intercept = [act = std::move(act)](const httplib::Request& request, httplib::Response& response) {
      return request.path.ends_with("/model.safetensors") && act(request, response);
    };
  }

  TestFolder folder;
  HubServer hub;
  DownloadOptions options;
};

TEST_F(Fetch, MakesTheLayoutOfTheCacheWithWhatIsNeeded) {
  const std::string snapshot = fetch();
  EXPECT_EQ(snapshot, folder / ("models--org--name/snapshots/" + hub.commit));
  for (const char* name :
       {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"}) {
    const std::string link = snapshot + "/" + name;
    const ServedFile& file = hub.files.at(name);
    EXPECT_EQ(read_bytes(link), file.content) << name;
    EXPECT_EQ(fs::read_symlink(link), "../../blobs/" + digest_of(file.content, file.lfs)) << name;
  }
  EXPECT_EQ(read_bytes(folder / "models--org--name/refs/main"), hub.commit);
  for (const char* name : {"tokenizer.model", "pytorch_model.bin", "README.md", "original/consolidated.safetensors"})
    EXPECT_EQ(hub.asked(name), 0U);
  EXPECT_EQ(hub.asked("model.safetensors"), 7U);  // pieces
  for (const SeenRequest& request : hub.seen()) EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(find_snapshot(folder.path(), *parse_hub_id("org/name")), snapshot);
  EXPECT_TRUE(snapshot_has(snapshot, *parse_hub_id("org/name"), ModelNeed::weights));
}

TEST_F(Fetch, TakesOnlyWhatIsNeededAndTheRestLater) {
  const std::string snapshot = fetch(ModelNeed::config);
  EXPECT_EQ(hub.asked("tokenizer"), 0U);
  EXPECT_FALSE(snapshot_has(snapshot, *parse_hub_id("org/name"), ModelNeed::text));
  fetch(ModelNeed::text);
  EXPECT_EQ(hub.asked("model.safetensors"), 0U);
  EXPECT_TRUE(snapshot_has(snapshot, *parse_hub_id("org/name"), ModelNeed::text));
  fetch();
  EXPECT_EQ(hub.asked("/config.json"), 1U);  // what is there is not fetched again
}

TEST_F(Fetch, FollowsTheIndex) {
  hub.files["model.safetensors.index.json"] = {
      R"({"metadata":{},"weight_map":{"a":"part-1.safetensors","b":"part-2.safetensors","c":"part-1.safetensors"}})"};
  hub.files["part-1.safetensors"] = {"one", true};
  hub.files["part-2.safetensors"] = {"two", true};
  const std::string snapshot = fetch();
  EXPECT_EQ(read_bytes(snapshot + "/part-1.safetensors"), "one");
  EXPECT_EQ(read_bytes(snapshot + "/part-2.safetensors"), "two");
  EXPECT_EQ(hub.asked("/model.safetensors"), 1U);  // the index, no second copy of the weights
  hub.files.erase("part-2.safetensors");
  expect_caller_error([&] { fetch(); }, "names part-2.safetensors");
}

TEST_F(Fetch, GoesOnWhereTheConnectionBroke) {
  std::atomic<int> requests{0};
  on_weights([&](const httplib::Request&, httplib::Response& response) {
    ++requests;
    HubServer::cut(hub.files["model.safetensors"].content, 300'000, response);
    return true;
  });
  const std::string snapshot = fetch();
  EXPECT_EQ(read_bytes(snapshot + "/model.safetensors"), hub.files["model.safetensors"].content);
  EXPECT_GE(requests, 13);  // every piece of 500 kB but the last of 1 byte took two
}

TEST_F(Fetch, SaysHowFarItCameAndGoesOnInTheNextRun) {
  options.connections = 1;
  on_weights([&](const httplib::Request& request, httplib::Response& response) {
    if (request.get_header_value("Range").starts_with("bytes=0-")) return false;
    if (!request.get_header_value("Range").starts_with("bytes=500000-")) {
      response.set_content_provider(kWeights, "x", [](size_t, size_t, httplib::DataSink&) { return false; });
      return true;
    }
    HubServer::cut(hub.files["model.safetensors"].content, 100'000, response);
    return true;
  });
  expect_world_error("run again: it goes on from 600,000 bytes");
  EXPECT_TRUE(fs::exists(partial()));
  hub.intercept = nullptr;
  hub.forget();
  fetch();
  EXPECT_EQ(read_bytes(weights_blob()), hub.files["model.safetensors"].content);
  EXPECT_FALSE(fs::exists(partial()));
  std::vector<std::string> ranges;
  for (const SeenRequest& request : hub.seen())
    if (!request.range.empty()) ranges.push_back(request.range);
  ASSERT_EQ(ranges.size(), 6U);  // the first piece is complete
  EXPECT_EQ(ranges.front(), "bytes=600000-999999");
}

TEST_F(Fetch, ALeftoverOfSomethingElseIsNoBeginning) {
  for (const std::string& leftover : {std::string("short"), noise(kWeights + 8 * 7 + 16)}) {
    fs::create_directories(folder / "models--org--name/blobs");
    folder.write(fs::relative(partial(), folder.path()).string(), leftover);
    fetch();
    EXPECT_EQ(read_bytes(weights_blob()), hub.files["model.safetensors"].content);
    fs::remove(weights_blob());
  }
  folder.write(fs::relative(weights_blob(), folder.path()).string(), "cut by another program");
  fetch();
  EXPECT_EQ(read_bytes(weights_blob()), hub.files["model.safetensors"].content);
}

TEST_F(Fetch, RefusesWhatArrivesDamaged) {
  std::string wrong = hub.files["model.safetensors"].content;
  wrong[1'234'567] ^= 1;
  on_weights([&](const httplib::Request&, httplib::Response& response) {
    response.set_content(wrong, "x");
    return true;
  });
  expect_world_error("arrived damaged");
  EXPECT_FALSE(fs::exists(partial()));
  hub.intercept = nullptr;
  fetch();  // and then it works

  hub.intercept = [](const httplib::Request& request, httplib::Response& response) {
    if (!request.path.ends_with("/config.json")) return false;
    response.set_content("{\"a\": 2}", "x");
    return true;
  };
  fs::remove_all(folder / "models--org--name");
  expect_world_error("git hash");
}

TEST_F(Fetch, RefusesWrongSizes) {
  for (const size_t size : {kWeights - 1, kWeights + 1, size_t{10}}) {
    std::string wrong = noise(size);
    on_weights([&](const httplib::Request&, httplib::Response& response) {
      response.set_content(wrong, "x");
      return true;
    });
    expect_world_error("run again");
    options.piece_bytes = 1 << 30;  // without ranges
    expect_world_error("serves");
    options.piece_bytes = 500'000;
  }
  // No length is said, and more comes than there should be.
  options.piece_bytes = 1 << 30;
  on_weights([&](const httplib::Request&, httplib::Response& response) {
    response.set_chunked_content_provider("x", [](size_t offset, httplib::DataSink& sink) {
      const std::string piece(64 << 10, 'x');
      sink.write(piece.data(), piece.size());
      if (offset > (64U << 20)) sink.done();
      return true;
    });
    return true;
  });
  expect_world_error("serves");
}

TEST_F(Fetch, CopesWithAServerThatIgnoresRanges) {
  std::atomic<int> cuts{2};
  on_weights([&](const httplib::Request& request, httplib::Response& response) {
    const_cast<httplib::Request&>(request).ranges.clear();
    const std::string& content = hub.files["model.safetensors"].content;
    if (request.get_header_value("Range").empty() && cuts-- > 0) HubServer::cut(content, 400'000, response);
    else response.set_content(content, "x");
    return true;
  });
  fetch();
  EXPECT_EQ(read_bytes(weights_blob()), hub.files["model.safetensors"].content);

  fs::remove(weights_blob());
  on_weights([&](const httplib::Request& request, httplib::Response& response) {
    const_cast<httplib::Request&>(request).ranges.clear();
    HubServer::cut(hub.files["model.safetensors"].content, 400'000, response);
    return true;
  });
  const Caught caught = catch_error([&] { fetch(); });  // and it ends
  EXPECT_EQ(caught.kind, ErrorKind::world);
  EXPECT_NE(caught.text.find("in the middle"), std::string::npos) << caught.text;
}

TEST_F(Fetch, RefusesAnotherPartThanAskedFor) {
  on_weights([&](const httplib::Request& request, httplib::Response&) {
    auto& ranges = const_cast<httplib::Request&>(request).ranges;
    for (auto& range : ranges) range = {0, 99};
    return false;
  });
  expect_world_error("another part");
}

TEST_F(Fetch, WaitsForAServerThatIsBusy) {
  std::atomic<int> refusals{2};
  hub.intercept = [&](const httplib::Request&, httplib::Response& response) {
    if (refusals-- <= 0) return false;
    response.status = refusals % 2 == 0 ? 503 : 429;
    return true;
  };
  fetch();
  hub.intercept = [&](const httplib::Request&, httplib::Response& response) {
    response.status = 503;
    return true;
  };
  fs::remove_all(folder / "models--org--name");
  expect_world_error("status 503");
}

TEST_F(Fetch, TellsOfAHubThatSaysNothing) {
  options.answer_timeout = std::chrono::seconds(1);
  options.http.patience = std::chrono::milliseconds(1);
  hub.intercept = [](const httplib::Request&, httplib::Response&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2500));
    return true;
  };
  testing::internal::CaptureStderr();
  const Caught caught = catch_error([&] { fetch(); });
  const std::string notes = testing::internal::GetCapturedStderr();
  EXPECT_EQ(caught.kind, ErrorKind::world) << caught.text;
  EXPECT_NE(caught.text.find("cannot be asked"), std::string::npos) << caught.text;
  EXPECT_NE(notes.find("waiting for 127.0.0.1"), std::string::npos) << notes;
  EXPECT_NE(notes.find("try 3 of 3"), std::string::npos) << notes;
  EXPECT_EQ(hub.asked("/api/"), 3U);
}

TEST_F(Fetch, AsksForATokenAndUsesIt) {
  hub.intercept = [&](const httplib::Request& request, httplib::Response& response) {
    if (request.get_header_value("Authorization") == "Bearer hf_secret") return false;
    response.status = 401;
    response.set_header("X-Error-Code", "GatedRepo");
    return true;
  };
  expect_caller_error([&] { fetch(); }, "set HF_TOKEN");
  options.http.token = "hf_secret";
  fetch();
  hub.intercept = [&](const httplib::Request&, httplib::Response& response) {
    response.status = 403;
    return true;
  };
  expect_caller_error([&] { fetch(); }, "accept them at");
}

TEST_F(Fetch, SaysWhatIsNotThere) {
  const auto answer = [&](int status, const char* code) {
    hub.intercept = [=](const httplib::Request&, httplib::Response& response) {
      response.status = status;
      if (*code != '\0') response.set_header("X-Error-Code", code);
      return true;
    };
  };
  answer(401, "RepoNotFound");
  expect_caller_error([&] { fetch(); }, "not there or private");
  answer(404, "");
  expect_caller_error([&] { fetch(); }, "does not have it");
  answer(404, "RevisionNotFound");
  expect_caller_error([&] { fetch(ModelNeed::config, "org/name@v9"); }, "no revision 'v9'");
  answer(418, "");
  EXPECT_EQ(catch_error([&] { fetch(); }).kind, ErrorKind::world);
  options.http.endpoint = *parse_url("http://127.0.0.1:1");
  expect_world_error("cannot be asked");
}

TEST_F(Fetch, ACommitIsThatCommitOrNone) {
  const Caught other = catch_error([&] { fetch(ModelNeed::config, "org/name@" + std::string(40, 'c')); });
  EXPECT_EQ(other.kind, ErrorKind::world);
  EXPECT_NE(other.text.find("gives commit " + hub.commit + " instead"), std::string::npos) << other.text;
  EXPECT_FALSE(fs::exists(folder / "models--org--name"));
  fetch(ModelNeed::config, "org/name@" + hub.commit);
}

TEST_F(Fetch, AFileThatIsListedAndNotThereIsNamed) {
  on_weights([](const httplib::Request&, httplib::Response& response) {
    response.status = 404;
    return true;
  });
  expect_world_error("lists model.safetensors and does not have it");
}

TEST_F(Fetch, TheTokenStaysWithTheHub) {
  HubServer other;
  other.files = hub.files;
  options.http.token = "hf_secret";
  options.connections =
      3;  // each may ask at the beginning and once the address has expired, before another has told it
  std::atomic<int> expired{1};
  on_weights([&](const httplib::Request& request, httplib::Response& response) {
    response.set_redirect(
        fmt::format("http://127.0.0.1:{}/signed/{}/model.safetensors?sig=a%2Bb,c", other.port(), hub.commit), 302);
    EXPECT_EQ(request.get_header_value("Authorization"), "Bearer hf_secret");
    return true;
  });
  other.intercept = [&](const httplib::Request& request, httplib::Response& response) {
    EXPECT_TRUE(request.target.ends_with("?sig=a%2Bb,c")) << request.target;
    if (request.get_header_value("Range").find("1000000-") == std::string::npos || expired-- <= 0) return false;
    response.status = 403;  // a signed address lives for a while only
    return true;
  };
  fetch();
  EXPECT_EQ(read_bytes(weights_blob()), hub.files["model.safetensors"].content);
  EXPECT_GE(other.seen().size(), 7U);
  for (const SeenRequest& request : other.seen()) EXPECT_EQ(request.authorization, "");
  EXPECT_LT(hub.asked("model.safetensors"), 7U);  // the address is remembered
}

TEST_F(Fetch, RefusesEndlessRedirectsAndUnreadableOnes) {
  for (const char* location : {"/api/models/org/name/revision/main", "ftp://example.org/", "http://user@host/", ""}) {
    hub.intercept = [&](const httplib::Request&, httplib::Response& response) {
      response.status = 307;
      response.set_header("Location", location);
      return true;
    };
    expect_world_error("points");
  }
}

TEST_F(Fetch, ListsTheGgufFilesAndTakesTheChosenOne) {
  hub.files = {{"a-q4.gguf", {"GGUF a", true}}, {"sub/b-q8.gguf", {"GGUF b", true}}};
  expect_caller_error([&] { fetch(); }, "a-q4.gguf (6 B), sub/b-q8.gguf (6 B) | choose one, org/name:a-q4.gguf");
  expect_caller_error([&] { fetch(ModelNeed::weights, "org/name:c.gguf"); }, "it has a-q4.gguf");
  const std::string snapshot = fetch(ModelNeed::config, "org/name:sub/b-q8.gguf");
  EXPECT_EQ(read_bytes(snapshot + "/sub/b-q8.gguf"), "GGUF b");
  EXPECT_TRUE(snapshot_has(snapshot, *parse_hub_id("org/name:sub/b-q8.gguf"), ModelNeed::weights));
  EXPECT_FALSE(snapshot_has(snapshot, *parse_hub_id("org/name:a-q4.gguf"), ModelNeed::weights));
}

TEST_F(Fetch, HostileListings) {
  const auto answer = [&](const std::string& text) {
    hub.intercept = [=](const httplib::Request& request, httplib::Response& response) {
      if (!request.path.starts_with("/api/")) return false;
      response.set_content(text, "x");
      return true;
    };
  };
  for (const std::string& text :
       {std::string("{"), std::string("[]"), std::string(R"({"sha":"../../x","siblings":[]})"),
        std::string(100'000, '['), std::string(40 << 20, ' ')}) {
    answer(text);
    EXPECT_EQ(catch_error([&] { fetch(); }).kind, ErrorKind::world);
  }
  nlohmann::json listing = nlohmann::json::parse(hub.listing());
  listing["siblings"].push_back(
      {{"rfilename", "../../../evil.safetensors"}, {"size", 1}, {"blobId", std::string(40, 'b')}});
  answer(listing.dump());
  fetch();
  EXPECT_EQ(hub.asked("evil"), 0U);
  for (auto& entry : listing["siblings"])
    if (entry["rfilename"] == "config.json") entry["blobId"] = "../../../../../../tmp/evil";
  answer(listing.dump());
  EXPECT_EQ(catch_error([&] { fetch(); }).kind, ErrorKind::world);
}

TEST_F(Fetch, OnlyOverATrustedConnection) {
  const TestFolder keys;
  write_certificate(keys, "localhost");
  HubServer tls(std::make_unique<httplib::SSLServer>((keys / "cert.pem").c_str(), (keys / "key.pem").c_str()));
  tls.files = hub.files;
  options.http.token = "hf_secret";
  options.http.endpoint = *parse_url(fmt::format("https://localhost:{}", tls.port()));
  expect_world_error("certificate");
  EXPECT_TRUE(tls.seen().empty());
  ::setenv("SSL_CERT_FILE", (keys / "cert.pem").c_str(), 1);
  fetch();
  EXPECT_EQ(read_bytes(weights_blob()), hub.files["model.safetensors"].content);
  fs::remove_all(folder / "models--org--name");

  tls.intercept = [&](const httplib::Request&, httplib::Response& response) {
    response.set_redirect(options.http.endpoint.origin.replace(0, 5, "http"), 302);
    return true;
  };
  expect_world_error("from https to http");
  write_certificate(keys, "other.example");  // trusted, but another host's
  HubServer impostor(std::make_unique<httplib::SSLServer>((keys / "cert.pem").c_str(), (keys / "key.pem").c_str()));
  options.http.endpoint = *parse_url(fmt::format("https://localhost:{}", impostor.port()));
  expect_world_error("certificate");
  EXPECT_TRUE(impostor.seen().empty());
  ::unsetenv("SSL_CERT_FILE");
}

}  // namespace
}  // namespace plimsoll
