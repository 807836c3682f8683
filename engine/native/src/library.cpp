// The library's functions: a program is built kernel by kernel, then run for each step.
#include "attention.h"
#include "byte_product.h"
#include "layers.h"
#include "linear.h"
#include "low_pass.h"
#include "sampling.h"
#include "spectrum.h"

#define KERNEL(name, Type)                                             \
  int64_t whispergpt_##name##_size() { return sizeof(Type); }          \
  void whispergpt_##name(Program* program, const Type* p) {            \
    Type copy = *p;                                                    \
    program->add([copy](const Batch& batch) { name(copy, batch); });   \
  }

extern "C" {
int whispergpt_panel() { return PANEL; }
int whispergpt_group() { return GROUP; }
bool whispergpt_multiplies_pairs() {
#if (LANES == 16 && defined(__AVX512BF16__)) || (LANES == 4 && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC))
  return true;
#else
  return false;
#endif
}
Program* whispergpt_program() { return new Program; }
void whispergpt_free(Program* program) { delete program; }
void whispergpt_stage(Program* program, int stage) { program->stage = stage; }
void whispergpt_by_row(Program* program, int count, bool last_alone) { program->by_row(count, last_alone); }
void whispergpt_in_tiles(Program* program, int count, int rows) { program->in_tiles(count, rows); }
void whispergpt_run(const Program* program, const int32_t* slots, int begin, int end, double* seconds) {
  program->run({begin, end, slots}, seconds);
}

KERNEL(linear, Linear)
KERNEL(byte_product, ByteProduct)
KERNEL(window, Window)
KERNEL(differences, Differences)
KERNEL(embed, Embed)
KERNEL(norm, Norm)
KERNEL(cell, Cell)
KERNEL(largest, Largest)
KERNEL(add, Add)
KERNEL(fetch, Fetch)
KERNEL(keep, Keep)
KERNEL(enter, Enter)
KERNEL(leave, Leave)
KERNEL(attention, Attention)
KERNEL(spectrum, Spectrum)
KERNEL(log_scale, LogScale)
KERNEL(sample, Sample)
KERNEL(draw, Draw)
KERNEL(quantize, Quantize)
KERNEL(low_pass, LowPass)
KERNEL(advance, Advance)
}
