// What a daemon may find in place of its database, and what it says then.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "ebb/base/files.h"
#include "place.h"
#include "scene.h"
#include "schema.h"

namespace ebb::store {
namespace {

using testing::internal::CaptureStderr;

Error refused(const std::filesystem::path& folder) {
  auto store = Store::open(folder);
  EXPECT_FALSE(store);
  return store ? Error{} : store.error();
}

bool says(const Error& error, std::string_view what) { return error.message.find(what) != std::string::npos; }

void run_sql(const std::filesystem::path& file, const std::string& sql) {
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &handle), SQLITE_OK);
  char* message = nullptr;
  EXPECT_EQ(sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, &message), SQLITE_OK) << message;
  sqlite3_free(message);
  EXPECT_EQ(sqlite3_close(handle), SQLITE_OK);
}

// A database with some thousand rows, closed.
void fill(const std::filesystem::path& folder, std::int64_t jobs = 2000) {
  Store store = open_store(folder);
  Batch batch;
  for (std::int64_t seq = 1; seq <= jobs; ++seq) batch.emplace_back(write::AddJob{job_row(seq)});
  expect_committed(store, std::move(batch));
}

void overwrite(const std::filesystem::path& file, std::streamoff offset, const std::string& bytes) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(offset);
  stream << bytes;
  ASSERT_TRUE(stream.flush().good());
}

TEST(Open, MakesFilesThatNobodyElseCanRead) {
  const TemporaryFolder folder;
  const mode_t before = ::umask(0);
  {
    Store store = open_store(folder.path());
    expect_committed(store, {write::AddJob{job_row(1)}});
    for (const char* name : {"ebb.db", "ebb.db-wal", "ebb.db-shm", "lock"}) {
      struct stat status{};
      ASSERT_EQ(::stat((folder.path() / name).c_str(), &status), 0) << name;
      EXPECT_EQ(status.st_mode & 07777, 0600U) << name;
    }
  }
  ::umask(before);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "ebb.db-wal")) << "a clean end folds the log in";
}

TEST(Open, RefusesAFolderThatIsNoneOrNotThere) {
  const TemporaryFolder folder;
  EXPECT_TRUE(says(refused(folder.path() / "missing"), "cannot use the state directory"));
  std::ofstream(folder.path() / "file") << "x";
  EXPECT_TRUE(says(refused(folder.path() / "file"), "is no directory"));
}

TEST(Open, RefusesAFolderThatItCannotWrite) {
  const TemporaryFolder folder;
  ASSERT_EQ(::chmod(folder.path().c_str(), 0555), 0);
  // Root can write everywhere, so a child becomes somebody else first.
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    auto store = Store::open(folder.path());
    const bool good = !store && says(store.error(), "is not writable") && says(store.error(), "--state");
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Open, KnowsNetworkFileSystems) {
  EXPECT_EQ(network_file_system(0x6969, ""), "NFS");
  EXPECT_EQ(network_file_system(static_cast<long>(0xFF534D42), ""), "CIFS");
  EXPECT_EQ(network_file_system(static_cast<int>(0xFF534D42U), ""), "CIFS") << "a negative f_type";
  EXPECT_EQ(network_file_system(0x01021997, ""), "9p");
  EXPECT_EQ(network_file_system(0x65735546, "fuse.sshfs"), "sshfs");
  EXPECT_FALSE(network_file_system(0x65735546, "fuseblk"));
  EXPECT_FALSE(network_file_system(0xEF53, ""));      // ext4
  EXPECT_FALSE(network_file_system(0x58465342, ""));  // XFS
  EXPECT_FALSE(network_file_system(0x01021994, ""));  // tmpfs
  EXPECT_FALSE(network_file_system(0x794C7630, ""));  // overlayfs
}

TEST(Open, RefusesASecondDaemonAndNamesTheFirst) {
  const TemporaryFolder folder;
  {
    auto first = Store::open(folder.path(), "socket /run/ebb/ebb.sock");
    ASSERT_TRUE(first);
    const Error error = refused(folder.path());
    EXPECT_EQ(error.code, Errc::conflict);
    EXPECT_TRUE(says(error, "pid " + std::to_string(::getpid()))) << error.message;
    EXPECT_TRUE(says(error, "socket /run/ebb/ebb.sock")) << error.message;
  }
  EXPECT_TRUE(Store::open(folder.path())) << "the lock goes with its holder";
}

TEST(Open, TakesOverFromADaemonThatWasKilled) {
  const TemporaryFolder folder;
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    Store store = open_store(folder.path());
    (void)!::write(ready[1], "x", 1);
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_TRUE(says(refused(folder.path()), "pid " + std::to_string(child)));
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  ::close(ready[0]);
  ::close(ready[1]);
  EXPECT_TRUE(Store::open(folder.path()));
}

TEST(Open, RefusesANewerVersionAndLeavesItAlone) {
  const TemporaryFolder folder;
  fill(folder.path(), 10);
  run_sql(folder.database(), "PRAGMA user_version = 99");
  const auto before = read_file(folder.database());
  const Error error = refused(folder.path());
  EXPECT_TRUE(says(error, "has version 99, and this program knows up to " + std::to_string(kSchemaVersion)))
      << error.message;
  EXPECT_EQ(*before, *read_file(folder.database()));
}

TEST(Open, RefusesADatabaseOfSomebodyElse) {
  const TemporaryFolder folder;
  run_sql(folder.database(), "CREATE TABLE theirs (x)");
  EXPECT_TRUE(says(refused(folder.path()), "is not one of Ebb's"));
  const TemporaryFolder other;
  fill(other.path(), 1);
  run_sql(other.database(), "PRAGMA application_id = 1");
  EXPECT_TRUE(says(refused(other.path()), "is not one of Ebb's"));
}

TEST(Open, RefusesADamagedHeader) {
  const TemporaryFolder folder;
  fill(folder.path(), 10);
  overwrite(folder.database(), 0, "this is no database");
  const Error error = refused(folder.path());
  EXPECT_EQ(error.code, Errc::corrupt);
  EXPECT_TRUE(says(error, "is damaged") && says(error, ".recover")) << error.message;
}

TEST(Open, RefusesAFileThatIsNoDatabaseAtAll) {
  const TemporaryFolder folder;
  std::ofstream(folder.database()) << std::string(10'000, 'x');
  EXPECT_EQ(refused(folder.path()).code, Errc::corrupt);
  std::filesystem::remove(folder.database());
  std::filesystem::create_directory(folder.database());
  EXPECT_FALSE(refused(folder.path()).message.empty());
  std::filesystem::remove(folder.database());
  std::filesystem::create_symlink("/etc/passwd", folder.database());
  EXPECT_FALSE(refused(folder.path()).message.empty());
}

TEST(Open, RefusesACutOffFile) {
  const TemporaryFolder folder;
  fill(folder.path());
  std::filesystem::resize_file(folder.database(), std::filesystem::file_size(folder.database()) / 2);
  EXPECT_EQ(refused(folder.path()).code, Errc::corrupt);
}

TEST(Open, FindsDamageInTheMiddleNeverServesItAsTruth) {
  const TemporaryFolder folder;
  fill(folder.path());
  constexpr std::streamoff kPage = 4096;
  const auto pages = static_cast<std::streamoff>(std::filesystem::file_size(folder.database())) / kPage;
  ASSERT_GT(pages, 60);
  const auto whole = *read_file(folder.database());
  int refusals = 0;
  for (std::streamoff page = 1; page < pages; page += 7) {
    overwrite(folder.database(), page * kPage, std::string(kPage, '\x5a'));
    auto store = Store::open(folder.path());
    if (!store) {
      EXPECT_EQ(store.error().code, Errc::corrupt) << store.error().message;
      ++refusals;
    }
    overwrite(folder.database(), page * kPage, whole.substr(std::size_t(page * kPage), kPage));
  }
  EXPECT_EQ(refusals, (pages - 2) / 7 + 1);
  EXPECT_TRUE(Store::open(folder.path()));
}

TEST(Open, TellsOfDamageThatAReaderMeets) {
  const TemporaryFolder folder;
  Store store = open_store(folder.path());
  expect_committed(store, {write::AddJob{job_row(1)}});
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(folder.database().c_str(), &handle), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(handle, "UPDATE jobs SET spec = '{\"command\":3}'", nullptr, nullptr, nullptr),
            SQLITE_OK);
  auto job = store.job(id_of(1));
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().code, Errc::corrupt);
  ASSERT_EQ(sqlite3_exec(handle, "UPDATE surroundings SET identity = '{}'", nullptr, nullptr, nullptr),
            SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(handle, "UPDATE jobs SET spec = '{\"command\":[]}'", nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(handle);
  job = store.job(id_of(1));
  ASSERT_FALSE(job) << "an identity without a uid must not read as root's";
  EXPECT_EQ(job.error().code, Errc::corrupt);
}

}  // namespace
}  // namespace ebb::store
