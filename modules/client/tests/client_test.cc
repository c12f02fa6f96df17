#include "ebb/client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "canned_server.h"

namespace ebb::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

Result<Client> connect(const std::string& path) {
  Endpoint endpoint;
  endpoint.path = path;
  return Client::connect({endpoint}, "otk_secret");
}

TEST(Client, GivesTheBodyOfAnAnswer) {
  const CannedServer server(
      {answer(200, "application/json", "{\"items\":[],\"next_cursor\":null,\"newer\":1}")});
  auto client = connect(server.path());
  ASSERT_TRUE(client);
  const auto list = client->get_as<model::JobList>("/v1/jobs");
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_TRUE(list->items.empty());
  EXPECT_THAT(server.requests(), ElementsAre(StartsWith("GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n")));
}

TEST(Client, NeverSendsAKeyOverASocket) {
  const CannedServer server({answer(200, "application/json", "{}")});
  auto client = connect(server.path());
  ASSERT_TRUE(client->get("/"));
  EXPECT_THAT(server.requests(), ElementsAre(testing::Not(HasSubstr("otk_secret"))));
}

TEST(Client, MakesAnErrorOfAProblem) {
  const CannedServer server(
      {answer(403, "application/problem+json",
              R"({"type":"not-yours","title":"t","status":403,"detail":"this is alice's","pointer":null})")});
  auto client = connect(server.path());
  const auto body = client->get("/x");
  ASSERT_FALSE(body);
  EXPECT_EQ(body.error().code, Errc::forbidden);
  EXPECT_EQ(body.error().type, "not-yours");
  EXPECT_EQ(body.error().message, "this is alice's");
}

TEST(Client, DoesNotTakeAnyHttpServerForADaemon) {
  const CannedServer server({answer(500, "text/html", "<h1>oops</h1>")});
  auto client = connect(server.path());
  const auto body = client->get("/x");
  ASSERT_FALSE(body);
  EXPECT_THAT(body.error().message, HasSubstr("is it an Ebb daemon?"));
}

TEST(Client, GivesUpAtTheDeadline) {
  const CannedServer server({""}, true);
  auto client = connect(server.path());
  const auto body = client->call({.target = "/x"}, std::chrono::milliseconds(50));
  ASSERT_FALSE(body);
  EXPECT_EQ(body.error().code, Errc::timeout);
}

TEST(Client, RepeatsWhatMayBeRepeatedWhenTheConnectionBreaks) {
  const CannedServer server({"", answer(200, "application/json", "2")});
  auto client = connect(server.path());
  EXPECT_EQ(*client->get("/x"), "2");
  EXPECT_THAT(server.requests(), SizeIs(2));
}

TEST(Client, RepeatsASubmissionWithItsKeyAndNothingWithoutOne) {
  const CannedServer with({"", answer(201, "application/json", "2")});
  auto client = connect(with.path());
  EXPECT_TRUE(client->call({.method = "POST", .body = "{}", .headers = {{"Idempotency-Key", "k"}}}));
  ASSERT_THAT(with.requests(), SizeIs(2));
  EXPECT_EQ(with.requests()[0], with.requests()[1]);

  const CannedServer without({"", answer(201, "application/json", "2")});
  auto other = connect(without.path());
  const auto body = other->call({.method = "POST", .body = "{}"});
  ASSERT_FALSE(body);
  EXPECT_EQ(body.error().code, Errc::unavailable);
}

TEST(Client, ReadsEventsUntilTheStreamEnds) {
  const CannedServer server({chunked({"event: a\ndata: 1\n\nev", "ent: b\ndata: 2\n\n"})});
  auto client = connect(server.path());
  std::vector<std::string> names;
  bool opened = false;
  const auto read = client->events(
      {.target = "/v1/events"}, [&] { return opened = true; },
      [&](const ServerEvent& event) {
        names.push_back(event.name + event.data);
        return true;
      },
      std::chrono::seconds(5));
  EXPECT_TRUE(read);
  EXPECT_TRUE(opened);
  EXPECT_THAT(names, ElementsAre("a1", "b2"));
}

TEST(Client, TellsABrokenStreamFromOneThatEnded) {
  model::LogFrame frame{.kind = model::LogFrame::Kind::out, .offset = 0, .data = "x"};
  const CannedServer server({chunked({encode(frame)}, false)});
  auto client = connect(server.path());
  int frames = 0;
  const auto read = client->frames({.target = "/logs"}, [&](const model::LogFrame&) -> Result<bool> {
    ++frames;
    return true;
  });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::unavailable);
  EXPECT_EQ(frames, 1);
}

TEST(Client, ReachesASocketWhosePathIsTooLongForTheKernel) {
  const CannedServer server({answer(200, "application/json", "{}")});
  const std::string folder = testing::TempDir() + "/" + std::string(120, 'l') + random_hex(4);
  std::filesystem::create_directory_symlink(std::filesystem::path(server.path()).parent_path(), folder);
  auto client = connect(folder + "/s");
  EXPECT_TRUE(client) << client.error().message;
  EXPECT_TRUE(client && client->get("/"));
  std::filesystem::remove(folder);
}

TEST(Client, NamesEverySocketWhereNobodyAnswers) {
  Endpoint first, second;
  first.path = "/nowhere/a";
  second.path = "/nowhere/b";
  const auto client = Client::connect({first, second}, "");
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().type, kNoDaemonType);
  EXPECT_THAT(client.error().message, StartsWith("no daemon at /nowhere/a or /nowhere/b; start one"));
}

TEST(Client, FindsAJobByItsPrefixAndTheNewestOfOnesOwn) {
  const std::string job =
      R"({"id":"7f3a91c2","user":"u","state":"queued","spec":{},"gpu_ids":[],"ports":[],"attempt":0,)"
      R"("submitted_at":"2026-11-23T22:59:38.222226Z","exit":{"code":null,"signal":null}})";
  const std::string other = R"({"id":"7f3b0000)" + job.substr(15);
  const auto page = [](const std::string& items) {
    return answer(200, "application/json", "{\"items\":[" + items + "],\"next_cursor\":null}");
  };
  const CannedServer server({page(job), page(job + "," + other), page(""), page(other)});
  const auto find = [&](std::string_view word) {
    auto client = connect(server.path());
    return resolve_job(*client, word);
  };
  EXPECT_EQ(*find("7f3a"), "7f3a91c2");
  EXPECT_EQ(find("7f3b").error().message, "7f3b fits several jobs: 7f3a91c2 7f3b0000; give more digits");
  EXPECT_EQ(find("7f3c").error().code, Errc::not_found);
  EXPECT_EQ(*find("last"), "7f3b0000");
  ASSERT_EQ(server.requests().size(), 4U);
  EXPECT_THAT(server.requests()[0], StartsWith("GET /v1/jobs?id=7f3a&limit=6 "));
  EXPECT_THAT(server.requests()[3], StartsWith("GET /v1/jobs?mine=1&limit=1 "));
}

TEST(Client, AsksAboutNothingThatIsNoId) {
  const CannedServer server(std::vector<std::string>{});
  auto client = connect(server.path());
  for (const char* word : {"7f3", "", "LAST", "7f3a91c2f", "../x"}) {
    EXPECT_EQ(resolve_job(*client, word).error().code, Errc::not_found) << word;
  }
}

}  // namespace
}  // namespace ebb::client
