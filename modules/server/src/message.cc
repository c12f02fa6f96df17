#include "message.h"

#include <array>
#include <boost/json/serialize.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include "ebb/base/clock.h"
#include "ebb/base/text.h"
#include "ebb/model/json.h"

namespace ebb::server {
namespace {

constexpr std::size_t kMostParameters = 64;

Error bad_target(std::string message) {
  return Error{.code = Errc::invalid, .message = std::move(message), .pointer = {}, .type = "bad-request"};
}

bool good_text(std::string_view text) { return is_utf8(text) && text.find('\0') == std::string_view::npos; }

// "Tue, 24 Nov 2026 00:00:00 GMT"
std::string http_date() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  static std::time_t last = 0;
  static std::string text;
  if (now != last) {
    std::tm parts{};
    gmtime_r(&now, &parts);
    std::array<char, 64> buffer{};
    text.assign(buffer.data(),
                std::strftime(buffer.data(), buffer.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts));
    last = now;
  }
  return text;
}

}  // namespace

Result<Target> parse_target(std::string_view text) {
  if (text.empty() || text.front() != '/' || text.starts_with("//")) {
    return bad_target("the request's target must be a path that begins with one '/'");
  }
  const auto parsed = boost::urls::parse_origin_form(text);
  if (parsed.has_error()) return bad_target("the request's target is not a valid path and query");
  Target target;
  for (const auto& segment : parsed->segments()) {
    std::string decoded(segment);
    if (!good_text(decoded)) return bad_target("the path contains a NUL byte or is no UTF-8");
    if (decoded == "." || decoded == "..") return bad_target("the path contains '.' or '..'");
    target.segments.push_back(std::move(decoded));
  }
  for (const auto& parameter : parsed->params()) {
    std::string name(parameter.key);
    std::string value(parameter.value);
    if (!good_text(name) || !good_text(value)) {
      return bad_target("the query contains a NUL byte or is no UTF-8");
    }
    target.query.emplace_back(std::move(name), std::move(value));
    if (target.query.size() > kMostParameters) return bad_target("the query has too many parameters");
  }
  return target;
}

std::optional<std::string_view> Request::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return std::nullopt;
}

std::optional<std::string_view> Request::query(std::string_view name) const {
  for (const auto& [key, value] : target.query) {
    if (key == name) return value;
  }
  return std::nullopt;
}

bool Request::accepts(std::string_view type) const {
  for (std::string_view part : split(header("accept").value_or(""), ',')) {
    part = part.substr(0, part.find(';'));
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    if (part == type) return true;
  }
  return false;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Payload Too Large";
    case 415:
      return "Unsupported Media Type";
    case 422:
      return "Unprocessable Entity";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return status < 400 ? "OK" : status < 500 ? "Bad Request" : "Internal Server Error";
  }
}

namespace {

Response problem_response(const model::Problem& details) {
  Response response{.status = details.status,
                    .content_type = "application/problem+json",
                    .body = model::json_text(details)};
  if (details.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"ebb\"");
  if (details.status == 429 || details.status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace

Response problem(const Error& error) { return problem_response(model::to_problem(error)); }

Response problem(int status, std::string type, std::string detail) {
  model::Problem details = model::to_problem(
      Error{.code = Errc::invalid, .message = std::move(detail), .pointer = {}, .type = std::move(type)});
  if (details.status != status) {
    details.status = status;
    details.title = reason_phrase(status);
  }
  return problem_response(details);
}

Response plain_error(int status, std::string_view detail) {
  boost::json::object body;
  body["detail"] = detail;
  Response response{.status = status, .body = boost::json::serialize(body)};
  if (status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (status == 429 || status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

bool is_v1(std::string_view target) {
  return target.starts_with("/v1/") || target == "/v1" || target.starts_with("/v1?");
}

std::string write_head(const Request& request, const Response& response, std::optional<std::size_t> length) {
  std::string head = request.http_1_0 ? "HTTP/1.0 " : "HTTP/1.1 ";
  head += std::to_string(response.status);
  head += ' ';
  head += reason_phrase(response.status);
  head += "\r\nDate: " + http_date() + "\r\nServer: ebb\r\nX-Content-Type-Options: nosniff\r\n";
  // Answers belong to one caller at one moment; and none is meant to be shown inside another page.
  head +=
      "Cache-Control: no-store\r\nContent-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n";
  if (response.status != 204) head += "Content-Type: " + response.content_type + "\r\n";
  for (const auto& [name, value] : request.answer_headers) head += name + ": " + value + "\r\n";
  for (const auto& [name, value] : response.headers) head += name + ": " + value + "\r\n";
  if (length) {
    if (response.status != 204) head += "Content-Length: " + std::to_string(*length) + "\r\n";
  } else if (!request.http_1_0) {
    head += "Transfer-Encoding: chunked\r\n";
  }
  const bool close = response.close || !request.keep_alive || (request.http_1_0 && !length);
  if (close) {
    head += "Connection: close\r\n";
  } else if (request.http_1_0) {
    head += "Connection: keep-alive\r\n";
  }
  return head + "\r\n";
}

}  // namespace ebb::server
