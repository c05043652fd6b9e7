// For tests: a hub in this process that serves one repository over HTTP or TLS, and misbehaves as told.
#pragma once

#include <gtest/gtest.h>
#include <httplib.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "hub/transport/digest.h"
#include "support/test_files.h"

namespace plimsoll {

struct ServedFile {
  std::string content;
  bool lfs = false;
};

struct SeenRequest {
  std::string method, path, range, authorization;
};

inline std::string digest_of(const std::string& content, bool sha256) {
  Digest digest(sha256, static_cast<int64_t>(content.size()));
  digest.add(content);
  return digest.hexadecimal();
}

class HubServer {
 public:
  // What a test may change while it runs, under no lock: change it between fetches.
  std::map<std::string, ServedFile> files;
  std::string commit = std::string(40, 'a');
  std::function<bool(const httplib::Request&, httplib::Response&)> intercept;  // true: it has answered

  explicit HubServer(std::unique_ptr<httplib::Server> server = std::make_unique<httplib::Server>())
      : server_(std::move(server)) {
    server_->set_keep_alive_timeout(1);
    server_->Get(".*", [this](const httplib::Request& request, httplib::Response& response) {
      {
        const std::lock_guard lock(mutex_);
        seen_.push_back({request.method, request.path, request.get_header_value("Range"),
                         request.get_header_value("Authorization")});
      }
      if (request.method == "HEAD") response.status = 405;
      else if (!intercept || !intercept(request, response)) serve(request, response);
    });
    port_ = server_->bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_->listen_after_bind(); });
    while (!server_->is_running()) std::this_thread::yield();
  }
  ~HubServer() {
    server_->stop();
    thread_.join();
  }

  int port() const { return port_; }
  std::vector<SeenRequest> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    seen_.clear();
  }
  size_t asked(const std::string& part) {
    size_t count = 0;
    for (const SeenRequest& request : seen()) count += request.path.find(part) != std::string::npos;
    return count;
  }

  std::string listing() const {
    nlohmann::json document = {{"sha", commit}, {"siblings", nlohmann::json::array()}};
    for (const auto& [path, file] : files) {
      nlohmann::json entry = {
          {"rfilename", path}, {"size", file.content.size()}, {"blobId", digest_of(file.content, false)}};
      if (file.lfs) entry["lfs"] = {{"sha256", digest_of(file.content, true)}, {"size", file.content.size()}};
      document["siblings"].push_back(entry);
    }
    return document.dump();
  }

  void serve(const httplib::Request& request, httplib::Response& response) const {
    if (request.path.starts_with("/api/models/org/name/revision/"))
      return response.set_content(listing(), "application/json");
    const size_t at = request.path.find(commit + "/");
    const auto found = at == std::string::npos ? files.end() : files.find(request.path.substr(at + commit.size() + 1));
    if (found == files.end()) {
      response.status = 404;
      response.set_header("X-Error-Code", "EntryNotFound");
      return;
    }
    response.set_content(found->second.content, "application/octet-stream");
  }

  // Sends at most `bytes` of what is asked for and breaks the connection.
  static void cut(const std::string& content, size_t bytes, httplib::Response& response) {
    response.set_content_provider(content.size(), "application/octet-stream",
                                  [content, bytes](size_t offset, size_t length, httplib::DataSink& sink) {
                                    sink.write(content.data() + offset, std::min(length, bytes));
                                    return false;
                                  });
  }

 private:
  std::unique_ptr<httplib::Server> server_;
  std::mutex mutex_;
  std::vector<SeenRequest> seen_;
  int port_ = 0;
  std::thread thread_;
};

// A certificate of its own for `host`, as PEM files in `folder`: cert.pem, key.pem.
inline void write_certificate(const TestFolder& folder, const std::string& host) {
  EVP_PKEY* key = EVP_RSA_gen(2048);
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(host.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  X509_EXTENSION* alternative = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, ("DNS:" + host).c_str());
  X509_add_ext(certificate, alternative, -1);
  X509_EXTENSION_free(alternative);
  EXPECT_GT(X509_sign(certificate, key, EVP_sha256()), 0);
  FILE* file = std::fopen((folder / "cert.pem").c_str(), "w");
  PEM_write_X509(file, certificate);
  std::fclose(file);
  file = std::fopen((folder / "key.pem").c_str(), "w");
  PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
  X509_free(certificate);
  EVP_PKEY_free(key);
}

}  // namespace plimsoll
