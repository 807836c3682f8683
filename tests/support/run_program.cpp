// Runs a program of kernels on a processor that Python does not run on. A file has the memory, the operations with the
// places of addresses in their parameters, and the slots; the memory afterwards replaces it. Without a file it prints
// the width of the library's panels, whether it multiplies pairs, and its groups of bytes.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

static void* library;

template <typename Function>
static Function function(const char* name) {
  void* found = dlsym(library, name);
  if (!found) std::fprintf(stderr, "%s\n", dlerror()), std::exit(1);
  return reinterpret_cast<Function>(found);
}

template <typename T = int64_t>
static std::vector<T> take(FILE* file, int64_t count = 1) {
  std::vector<T> values(count);
  if (std::fread(values.data(), sizeof(T), count, file) != size_t(count)) std::fputs("too short\n", stderr), std::exit(1);
  return values;
}

int main(int count, char** arguments) {
  library = dlopen(arguments[1], RTLD_NOW);
  if (!library) return std::fprintf(stderr, "%s\n", dlerror()), 1;
  if (count == 2) {
    std::printf("%d %d %d\n", function<int (*)()>("whispergpt_panel")(),
                function<bool (*)()>("whispergpt_multiplies_pairs")(), function<int (*)()>("whispergpt_group")());
    return 0;
  }
  FILE* file = std::fopen(arguments[2], "r+b");
  int64_t bytes = take(file)[0];
  char* memory = static_cast<char*>(std::aligned_alloc(64, bytes));
  if (std::fread(memory, 1, bytes, file) != size_t(bytes)) return 1;
  void* program = function<void* (*)()>("whispergpt_program")();
  for (int64_t operations = take(file)[0]; operations > 0; operations--) {
    auto name = take<char>(file, 64);
    auto parameters = take<char>(file, take(file)[0]);
    for (int64_t place : take(file, take(file)[0])) {
      int64_t offset;
      std::memcpy(&offset, &parameters[place], 8);
      char* address = memory + offset;
      std::memcpy(&parameters[place], &address, 8);
    }
    if (!std::strcmp(name.data(), "whispergpt_by_row")) {
      const int64_t* values = reinterpret_cast<const int64_t*>(parameters.data());
      function<void (*)(void*, int, bool)>(name.data())(program, int(values[0]), values[1]);
      continue;
    }
    if (!std::strcmp(name.data(), "whispergpt_in_tiles")) {
      const int64_t* values = reinterpret_cast<const int64_t*>(parameters.data());
      function<void (*)(void*, int, int)>(name.data())(program, int(values[0]), int(values[1]));
      continue;
    }
    char size[72];
    std::snprintf(size, sizeof size, "%s_size", name.data());
    if (function<int64_t (*)()>(size)() != int64_t(parameters.size())) return std::fputs("another layout\n", stderr), 1;
    function<void (*)(void*, const void*)>(name.data())(program, parameters.data());
  }
  int64_t begin = take(file)[0], end = take(file)[0];
  auto slots = take<int32_t>(file, end);
  double seconds[4] = {};
  using Run = void (*)(const void*, const int32_t*, int, int, double*);
  function<Run>("whispergpt_run")(program, slots.data(), int(begin), int(end), seconds);
  std::fseek(file, 8, SEEK_SET);
  return std::fwrite(memory, 1, bytes, file) == size_t(bytes) && !std::fclose(file) ? 0 : 1;
}
