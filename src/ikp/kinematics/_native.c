/* Forward kinematics and its gradient in one pass over memory; the form of ikp.kinematics._columns, compiled.
 *
 * Blocks of configurations go through the whole tree while they are in the processor's cache, so each pose is
 * written once and each gradient read once. ikp.kinematics._compiled checks all arguments and is the only caller; without
 * this module torch computes the same.
 */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#define THREADS 0
#else
#define THREADS 1
#include <pthread.h>
#endif

/* One machine builds for many: the loader picks the widest vectors that the processor has. The names of processors
 * are no use here, for they stand for these processors alone and not for their successors. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif
#if defined(_MSC_VER)
#define ALWAYS_INLINE __forceinline
#define INDEPENDENT __pragma(loop(ivdep))
#elif defined(__clang__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Configurations at a time. The processor fetches ahead within a row, and an output has hundreds of rows. */
#define BLOCK 512
#define MOST_THREADS 64
/* An output from this size on is written past the caches, which saves reading it first. */
#define BYTES_STREAMED (16 << 20)

typedef enum { FIXED, TURNS, SLIDES } Kind;

typedef struct {
    int index, parent, dof, column, kind, moved;
} Node;

typedef struct {
    const Node *node; /* in the order of visits; those that no joint moves come first */
    int nodes, links, dofs;
    const void *constants; /* (node, 13): columns x, y, z, p of the constant frame, then the joint's multiplier */
    const void *theta;     /* (n, dof) */
    ptrdiff_t theta_row, theta_dof, n, width;
    const void *grad; /* (link, column, row, n), the last one contiguous */
    ptrdiff_t grad_link, grad_column, grad_row;
    void *out;
    int streamed;
} Job;

/* Copy past the caches where the processor can and the addresses allow. */
static ALWAYS_INLINE void stream(void *to, const void *from, size_t bytes)
{
#ifdef __SSE2__
    if (((size_t)to | (size_t)from | bytes) % sizeof(__m128i) == 0) {
        for (size_t at = 0; at < bytes; at += sizeof(__m128i))
            _mm_stream_si128((__m128i *)((char *)to + at),
                             _mm_load_si128((const __m128i *)((const char *)from + at)));
        return;
    }
#endif
    memcpy(to, from, bytes);
}

/* Streamed numbers are in memory before the caller goes on. */
static void end_streams(void)
{
#ifdef __SSE2__
    _mm_sfence();
#endif
}

#define TWO_BY_PI 0.63661977236758134308
#define HALF_PI_HIGH 1.57079632673412561417 /* 33 bits: its product with a quadrant below 2^20 is exact */
#define HALF_PI_LOW 6.07710050650619224932e-11
#define FARTHEST_REDUCED 1e6 /* rad; beyond it the quadrant has too many bits */
#define ROUNDED(x) (((x) + 6755399441055744.0) - 6755399441055744.0) /* 1.5 * 2^52: vectorises everywhere */

static ALWAYS_INLINE float sin_polynomial_float(float z)
{
    return (-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f;
}

static ALWAYS_INLINE float cos_polynomial_float(float z)
{
    return (2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f;
}

static ALWAYS_INLINE double sin_polynomial_double(double z)
{
    return ((((1.58962301576546568060e-10 * z - 2.50507477628578072866e-8) * z + 2.75573136213857245213e-6) * z -
             1.98412698295895385996e-4) * z + 8.33333333332211858878e-3) * z - 1.66666666666666307295e-1;
}

static ALWAYS_INLINE double cos_polynomial_double(double z)
{
    return ((((-1.13585365213876817300e-11 * z + 2.08757008419747316778e-9) * z - 2.75573141792967388112e-7) * z +
             2.48015872888517045348e-5) * z - 1.38888888888730564116e-3) * z + 4.16666666666665929218e-2;
}

#define REAL float
#define NAME(x) x##_float
#include "_native_loops.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "_native_loops.h"

typedef void (*Loop)(const Job *, ptrdiff_t first, ptrdiff_t last, void *work);

typedef struct {
    const Job *job;
    Loop loop;
    ptrdiff_t first, last;
    void *work;
} Share;

static void *run_share(void *argument)
{
    const Share *share = argument;
    share->loop(share->job, share->first, share->last, share->work);
    end_streams();
    return NULL;
}

/* Run the loop on whole blocks by up to `threads` threads; false without memory. Threads live for one call, which
 * costs tens of microseconds and leaves nothing behind that a fork could break. */
static int run(const Job *job, Loop loop, size_t work_size, int threads)
{
    const ptrdiff_t blocks = (job->n + BLOCK - 1) / BLOCK;
    Share shares[MOST_THREADS];
    if (!THREADS || threads < 1)
        threads = 1;
    if (threads > MOST_THREADS)
        threads = MOST_THREADS;
    if (threads > blocks)
        threads = blocks > 0 ? (int)blocks : 1;
    work_size = (work_size + 63) / 64 * 64;
    char *work = malloc(work_size * threads + 64);
    if (work == NULL)
        return 0;
    char *aligned = work + (64 - (size_t)work % 64);
    for (int t = 0; t < threads; t++) {
        const ptrdiff_t first = blocks * t / threads * BLOCK, last = blocks * (t + 1) / threads * BLOCK;
        shares[t] = (Share){job, loop, first, last < job->n ? last : job->n, aligned + work_size * t};
    }
#if THREADS
    pthread_t started[MOST_THREADS];
    int failed[MOST_THREADS];
    for (int t = 1; t < threads; t++)
        failed[t] = pthread_create(&started[t], NULL, run_share, &shares[t]);
    run_share(&shares[0]);
    for (int t = 1; t < threads; t++) {
        if (failed[t])
            run_share(&shares[t]);
        else
            pthread_join(started[t], NULL);
    }
#else
    run_share(&shares[0]);
#endif
    free(work);
    return 1;
}

/* The part of a job that both functions share: (nodes, constants, double, links, dofs, theta, row, dof, n). */
static int read_job(PyObject *const *args, Job *job, int *is_double)
{
    Py_ssize_t size;
    char *bytes;
    *job = (Job){0};
    if (PyBytes_AsStringAndSize(args[0], &bytes, &size) < 0)
        return 0;
    job->node = (const Node *)bytes;
    job->nodes = (int)(size / (Py_ssize_t)sizeof(Node));
    if (PyBytes_AsStringAndSize(args[1], &bytes, &size) < 0)
        return 0;
    job->constants = bytes;
    *is_double = PyObject_IsTrue(args[2]);
    job->links = (int)PyLong_AsLong(args[3]);
    job->dofs = (int)PyLong_AsLong(args[4]);
    job->theta = PyLong_AsVoidPtr(args[5]);
    job->theta_row = PyLong_AsSsize_t(args[6]);
    job->theta_dof = PyLong_AsSsize_t(args[7]);
    job->n = PyLong_AsSsize_t(args[8]);
    /* a few configurations stay close together; rows of a whole block start in different cache sets */
    job->width = job->n < BLOCK ? (job->n + 15) / 16 * 16 : BLOCK + 16;
    return !PyErr_Occurred();
}

static PyObject *finish(const Job *job, Loop loop, size_t work_size, int threads)
{
    int done;
    Py_BEGIN_ALLOW_THREADS
    done = run(job, loop, work_size, threads);
    Py_END_ALLOW_THREADS
    if (!done)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *forward(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Job job;
    int is_double;
    if (count != 11)
        return PyErr_Format(PyExc_TypeError, "11 arguments are needed, not %zd", count);
    if (!read_job(args, &job, &is_double))
        return NULL;
    job.out = PyLong_AsVoidPtr(args[9]);
    job.streamed = job.n * job.links * 16 * (ptrdiff_t)(is_double ? sizeof(double) : sizeof(float)) >= BYTES_STREAMED;
    const int threads = (int)PyLong_AsLong(args[10]);
    if (PyErr_Occurred())
        return NULL;
    return is_double ? finish(&job, forward_double, work_size_double(&job), threads)
                     : finish(&job, forward_float, work_size_float(&job), threads);
}

static PyObject *backward(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Job job;
    int is_double;
    if (count != 15)
        return PyErr_Format(PyExc_TypeError, "15 arguments are needed, not %zd", count);
    if (!read_job(args, &job, &is_double))
        return NULL;
    job.out = PyLong_AsVoidPtr(args[9]);
    const int threads = (int)PyLong_AsLong(args[10]);
    job.grad = PyLong_AsVoidPtr(args[11]);
    job.grad_link = PyLong_AsSsize_t(args[12]);
    job.grad_column = PyLong_AsSsize_t(args[13]);
    job.grad_row = PyLong_AsSsize_t(args[14]);
    if (PyErr_Occurred())
        return NULL;
    return is_double ? finish(&job, backward_double, work_size_double(&job), threads)
                     : finish(&job, backward_float, work_size_float(&job), threads);
}

static PyMethodDef methods[] = {
    {"forward", (PyCFunction)(void (*)(void))forward, METH_FASTCALL,
     "forward(nodes, constants, double, links, dofs, theta, theta_row, theta_dof, n, columns, threads)"},
    {"backward", (PyCFunction)(void (*)(void))backward, METH_FASTCALL,
     "backward(nodes, constants, double, links, dofs, theta, theta_row, theta_dof, n, d_theta, threads, grad, "
     "grad_link, grad_column, grad_row)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "Forward kinematics and its gradient, compiled.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&module); }
