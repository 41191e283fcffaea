/* real.h: compiles the part of a file that is written once for float and double. The file defines SELF, its own path,
 * and includes this header; under `#ifdef REAL` it then finds
 *   REAL       float, later double
 *   FN(name)   name_f32, later name_f64
 * No include guard: that is the point. */
#define REAL float
#define FN(name) name##_f32
#include SELF
#undef REAL
#undef FN

#define REAL double
#define FN(name) name##_f64
#include SELF
#undef REAL
#undef FN
