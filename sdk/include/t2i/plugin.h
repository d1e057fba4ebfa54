/* t2i/plugin.h - the whole binary contract between the t2i core and a plugin. C11, no other t2i header.
 *
 * A plugin is a shared library that exports one function, t2i_plugin_v1, and offers components: models, tasks, losses,
 * data set formats.
 * It links no torch library: tensors cross as opaque handles, ATen ops are called by name through the core, which owns
 * LibTorch and records autograd. The C++ comfort over this header is t2i/t2i.hpp.
 *
 * Ownership  arguments are borrowed for the call; what comes back through an `out` pointer or a sink is the receiver's.
 * Errors     every call returns int32_t, 0 = ok. On failure the callee has already called host->fail(); return its code.
 * Growth     structs only gain fields at the end, and `size` says how many bytes the writer knew. Nothing is reordered.
 * Threads    [main] [step] one thread per device, [data] many threads, no autograd, [any] as it says.
 * Text       UTF-8, NUL-terminated. JSON texts are objects. */
#ifndef T2I_PLUGIN_H
#define T2I_PLUGIN_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define T2I_ABI_MAJOR 0u /* 0: before t2i 1.0 nothing is promised, major and minor must be equal */
#define T2I_ABI_MINOR 2u
/* Is `field` there: known to the writer of *p, and set? Ask before using any field that came after the first release. */
#define T2I_HAS(p, field) ((p)->size >= offsetof(__typeof__(*(p)), field) + sizeof((p)->field) && (p)->field)

enum {
  T2I_OK = 0,
  T2I_E_INVALID = 1,     /* a wrong argument: shape, dtype, option */
  T2I_E_UNSUPPORTED = 2, /* this core or this component cannot do that */
  T2I_E_MISSING = 3,     /* a tensor, file, op or part that is needed is not there */
  T2I_E_OOM = 4,
  T2I_E_CANCELLED = 5, /* the user asked to stop; unwind */
  T2I_E_INTERNAL = 6
};

typedef struct t2i_tensor_ *t2i_tensor; /* bit for bit an AtenTensorHandle: torch's C shim accepts it */
typedef struct t2i_op_ *t2i_op;         /* one resolved ATen overload; lives as long as the process */
typedef uint32_t t2i_param;             /* a slot in the core's state dict, never a pointer */
#define T2I_NO_PARAM 0xffffffffu

/* ---- values: what an ATen call takes. Lists are borrowed (pointer, count). ---- */
enum { T2I_NONE, T2I_TENSOR, T2I_BOOL, T2I_INT, T2I_FLOAT, T2I_STRING, T2I_INTS, T2I_FLOATS, T2I_TENSORS, T2I_DTYPE };
/* Element types as T2I_DTYPE values and as t2i_tensor_api.dtype gives them: at::ScalarType's numbers. */
enum { T2I_U8 = 0, T2I_I32 = 3, T2I_I64 = 4, T2I_F16 = 5, T2I_F32 = 6, T2I_F64 = 7, T2I_B8 = 11, T2I_BF16 = 15 };
typedef struct t2i_value {
  uint32_t kind, count;
  union {
    t2i_tensor t;
    int64_t i;
    double d;
    const char *s;
    const int64_t *is;
    const double *ds;
    const t2i_tensor *ts;
  } u;
} t2i_value;
typedef struct t2i_named {
  const char *name; /* reserved names: sdk/NAMES.md */
  t2i_tensor tensor;
} t2i_named;
typedef struct t2i_sink { /* how a component hands back named tensors; put() takes ownership */
  size_t size;
  void *ctx;
  int32_t (*put)(void *ctx, const char *name, t2i_tensor owned);
} t2i_sink;

/* ---- the host: services are asked for by name, host->service(host, "t2i.op/1"); NULL = this core has none. ---- */
typedef struct t2i_host {
  size_t size;
  uint32_t abi_major, abi_minor;
  const char *core_version, *torch_version;
  const void *(*service)(const struct t2i_host *, const char *id);                  /* [any] */
  int32_t (*fail)(const struct t2i_host *, int32_t code, const char *message);      /* [any] keeps the text, returns code */
  const char *(*last_error)(const struct t2i_host *);                               /* [any] this thread's, until its next call */
  void (*log)(const struct t2i_host *, int32_t level, const char *message);         /* [any] 0 debug 1 info 2 warning */
} t2i_host;

typedef struct t2i_tensor_api { /* "t2i.tensor/1" [any] */
  size_t size;
  int32_t (*retain)(t2i_tensor, t2i_tensor *out);
  void (*release)(t2i_tensor);
  int32_t (*shape)(t2i_tensor, int64_t *dims, uint32_t capacity, uint32_t *ndim);
  int32_t (*dtype)(t2i_tensor, int32_t *out);
  int32_t (*item)(t2i_tensor, double *out);                      /* device sync: for checks, refused inside a step */
  int32_t (*from_f32)(const float *data, const int64_t *dims, uint32_t ndim, t2i_tensor like_or_null, t2i_tensor *out);
  int32_t (*from_i64)(const int64_t *data, const int64_t *dims, uint32_t ndim, t2i_tensor like_or_null, t2i_tensor *out);
                                                                 /* copied; placed on the device of `like`, else on the CPU */
} t2i_tensor_api;

typedef struct t2i_op_api { /* "t2i.op/1" [any]: the dispatcher, autograd included; trailing defaults filled by the core */
  size_t size;
  int32_t (*find)(const char *name, const char *overload, t2i_op *out); /* "aten::add", "Tensor"; "t2i::geglu", "" */
  int32_t (*call)(t2i_op, const t2i_value *args, uint32_t n, t2i_tensor *outs, uint32_t capacity);
} t2i_op_api;

typedef struct t2i_autograd_api { /* "t2i.autograd/1" [step]: a C callback as a node of the autograd graph */
  size_t size;
  /* backward gets the forward's inputs in `saved` and writes one gradient per input, NULL for none. drop(ctx) is called
   * exactly once, when the node dies, on whichever thread that is; also when forward fails. */
  int32_t (*apply)(int32_t (*forward)(void *ctx, const t2i_tensor *in, uint32_t n, t2i_tensor *out),
                   int32_t (*backward)(void *ctx, const t2i_tensor *saved, uint32_t n, t2i_tensor grad_out, t2i_tensor *grad_in),
                   void (*drop)(void *ctx), void *ctx, const t2i_tensor *in, uint32_t n, t2i_tensor *out);
} t2i_autograd_api;

/* "t2i.param/1": the core owns weights, their dtype, device, shards, EMA and adapters. A scope is one part's state dict. */
typedef struct t2i_param_api {
  size_t size;
  /* [build] name as in the diffusers state dict; init: "zeros" "ones" "normal:0.02" "default" (fan-in uniform), or
   * "buffer": a constant that is loaded and saved with the weights and never trained */
  int32_t (*declare)(void *scope, const char *name, const int64_t *shape, uint32_t ndim, const char *init, t2i_param *out);
  int32_t (*get)(void *scope, t2i_param, t2i_tensor *out); /* [step] valid in this step only; retained for the caller */
  int32_t (*linear)(void *scope, t2i_tensor x, t2i_param weight, t2i_param bias_or_none, t2i_tensor *out); /* [step] */
  int32_t (*conv2d)(void *scope, t2i_tensor x, t2i_param weight, t2i_param bias_or_none, int64_t stride, int64_t padding,
                    int64_t dilation, int64_t groups, t2i_tensor *out); /* [step] x [B,C,H,W] */
} t2i_param_api;

/* "t2i.block/1" [step]: what runs inside one block the core may time, recompute, offload or capture. A model puts each
 * residual or transformer block in one. ctx is copied (ctx_bytes): the body may run again during backward. */
typedef struct t2i_block_api {
  size_t size;
  int32_t (*run)(void *scope, const char *name,
                 int32_t (*body)(void *ctx, const t2i_tensor *in, uint32_t n, t2i_tensor *out, uint32_t n_out), const void *ctx,
                 size_t ctx_bytes, const t2i_tensor *in, uint32_t n, t2i_tensor *out, uint32_t n_out);
} t2i_block_api;

/* "t2i.rng/1" [step]: Philox draws as a pure function of who draws. `rng` is the step's tensor "rng" [n,3] int64:
 * (seed, step, sample); stream is any name. Result [n, per_sample...] float32 on the device of `rng`. */
typedef struct t2i_rng_api {
  size_t size;
  int32_t (*uniform)(t2i_tensor rng, const char *stream, const int64_t *per_sample, uint32_t ndim, t2i_tensor *out); /* [0,1) */
  int32_t (*normal)(t2i_tensor rng, const char *stream, const int64_t *per_sample, uint32_t ndim, t2i_tensor *out);
} t2i_rng_api;

/* "t2i.asset/1" [any]: a file of the model folder ("tokenizer/vocab.json"). The bytes live as long as the model.
 * A file that is not there gives *data = NULL and T2I_OK: absence is an answer. */
typedef struct t2i_asset_api {
  size_t size;
  int32_t (*read)(void *assets, const char *path, const char **data, size_t *bytes);
} t2i_asset_api;

typedef struct t2i_metric_api { /* "t2i.metric/1" [step]: a scalar by name, read late; no device sync */
  size_t size;
  int32_t (*put)(const char *name, t2i_tensor scalar);
} t2i_metric_api;

/* ---- components. `config` is JSON already validated against config_schema, defaults filled in. ---- */

/* kind "model": a family of networks and how they play together. The core asks describe(), then builds the parts it
 * needs, one scope each, loads their weights, and calls the functions below with named tensors.
 * `config`: {"parts": {"unet": {...its config.json...}, ...}, "classes": {"unet": "UNet2DConditionModel"}, "files":
 * {"vae": "elsewhere/config.json"}, "scheduler": {...}, "index": {...model_index.json...}, "options": {"clip_skip":
 * null, ...}}; files: what messages call a configuration that is not the model's own. Functions a model does not have
 * are NULL. */
typedef struct t2i_model {
  size_t size;
  int32_t (*create)(const char *config, void *assets, void **self); /* [main] reads configurations, declares nothing */
  void (*destroy)(void *self);
  int32_t (*describe)(void *self, const char **json);                 /* [main] sdk/NAMES.md lists the keys; lives as long as self */
  int32_t (*build)(void *self, const char *part, void *scope);        /* [main] declares the part's parameters in scope */
  int32_t (*forward)(void *self, const t2i_named *in, uint32_t n, const t2i_sink *out); /* [step] -> prediction */
  int32_t (*tokenize)(void *self, const char *const *texts, uint32_t n, const t2i_sink *out); /* [data] -> tokens, tokens_2 ... */
  int32_t (*encode_text)(void *self, const t2i_named *in, uint32_t n, const t2i_sink *out);   /* [step] tokens -> prompt_embeds, pooled */
  int32_t (*encode_image)(void *self, const t2i_named *in, uint32_t n, const t2i_sink *out);  /* [step] pixels -> mean, logvar (unscaled) */
  int32_t (*decode_image)(void *self, const t2i_named *in, uint32_t n, const t2i_sink *out);  /* [step] latents (scaled) -> pixels */
  int32_t (*scale_latents)(void *self, t2i_tensor in, t2i_tensor *out); /* [step] a VAE sample -> what the denoiser works on */
  /* [main] what the family's single files call the parameters of each part: JSON, sdk/NAMES.md; lives as long as self */
  int32_t (*file_names)(void *self, const char **json);
} t2i_model;

/* kind "task": the conditioning scheme: which columns of the data it needs, what it gives the denoiser beside the noisy
 * latents, what it drops in training, and how several predictions are combined when generating. */
typedef struct t2i_task {
  size_t size;
  int32_t (*create)(const char *config, void **self);
  void (*destroy)(void *self);
  int32_t (*describe)(void *self, const char **json); /* columns, added_latents; sdk/NAMES.md */
  /* [step] in: the step's conditioning, its null twins ("null_prompt_embeds", ...) and "rng"; out: what the model gets */
  int32_t (*apply)(void *self, const t2i_named *in, uint32_t n, const t2i_sink *out);
  /* [step] guidance: `config` of create holds guidance_scale and the like. How many predictions a denoising step takes;
   * the conditioning of prediction `branch`; their combination (predictions [n,C,h,w] each). */
  int32_t (*branches)(void *self, uint32_t *count);
  int32_t (*branch)(void *self, uint32_t branch, const t2i_named *in, uint32_t n, const t2i_sink *out);
  int32_t (*combine)(void *self, const t2i_tensor *predictions, uint32_t n, t2i_tensor *out);
} t2i_task;

/* kind "loss": the objective. It draws timesteps, makes the noisy input, says what the target is and measures the error. */
typedef struct t2i_loss {
  size_t size;
  /* context: {"scheduler": {...scheduler_config.json of the folder...}, "latent": {...as in the model's describe()...}} */
  int32_t (*create)(const char *config, const char *context, void **self);
  void (*destroy)(void *self);
  int32_t (*describe)(void *self, const char **json); /* {"scheduler": {keys to write into the trained folder's scheduler}} */
  int32_t (*draw)(void *self, const t2i_named *in, uint32_t n, const t2i_sink *out);    /* [step] latents, rng -> timesteps [n] float32, 0...1000 */
  int32_t (*prepare)(void *self, const t2i_named *in, uint32_t n, const t2i_sink *out); /* [step] latents, noise, timesteps -> noisy, target */
  int32_t (*compute)(void *self, const t2i_named *in, uint32_t n, const t2i_sink *out); /* [step] prediction, target, ... -> loss_per_sample [n], raw_loss_per_sample [n] */
} t2i_loss;

/* kind "dataset": tables in a file format that the core does not read itself. No tensor is involved. Cells are bytes: a
 * text's in UTF-8, a picture's file as it is. Functions of writing may be NULL, all together. */
typedef struct t2i_cell {
  const void *data; /* NULL: the cell is empty */
  uint64_t bytes;
  const char *name; /* what a picture's file is called; NULL: not known */
} t2i_cell;
typedef struct t2i_cell_sink { /* how a cell is handed back; put() copies */
  size_t size;
  void *ctx;
  int32_t (*put)(void *ctx, const t2i_cell *cell);
} t2i_cell_sink;
typedef struct t2i_dataset {
  size_t size;
  int32_t (*open)(const char *config, const char *const *files, uint32_t n, void **self); /* [main] one table of all files, in this order */
  void (*close)(void *self);
  /* [main] {"rows": [of each file], "columns": [{"name": "image", "kind": "picture"}]}, kind "picture", "text" or "other",
   * of which no cell is read; lives as long as self */
  int32_t (*describe)(void *self, const char **json);
  int32_t (*read)(void *self, uint64_t row, uint32_t column, const t2i_cell_sink *out); /* [any] one put() */
  /* a new file: create, append row by row (a cell for each column of `columns`, a list as describe() has it), finish;
   * discard() frees the writer, finished or not */
  int32_t (*create)(const char *config, const char *file, const char *columns, void **writer); /* [main] */
  int32_t (*append)(void *writer, const t2i_cell *cells, uint32_t n);
  int32_t (*finish)(void *writer);
  void (*discard)(void *writer);
} t2i_dataset;

typedef struct t2i_component {
  size_t size;
  const char *kind, *id, *doc;
  const char *config_schema; /* {"gamma": {"type": "number", "default": 5, "exclusiveMinimum": 0, "description": "..."}} */
  const void *impl;          /* t2i_model, t2i_task, t2i_loss or t2i_dataset, by kind */
  const char *opens;         /* model: the pipeline classes of model_index.json whose folders it opens, a space between;
                              * NULL: it is created on any folder and describe() tells. dataset: the endings of the files
                              * that it reads, as "parquet arrow"; the first is what it writes */
} t2i_component;

typedef struct t2i_plugin {
  size_t size;
  uint32_t abi_major, abi_minor;
  const char *id, *version, *license;     /* "org.example.huber", "1.0.0", "MIT" */
  const char *needs_torch;                /* NULL: stable tier. "2.11.0+cu130": LibTorch tier, must equal the core's */
  const t2i_component *const *components; /* NULL-terminated */
  int32_t (*start)(const t2i_host *);     /* [main] once per process, before any component; resolves every op */
} t2i_plugin;

/* The one exported function; runs no code beyond returning static data. The same facts lie in the ELF section .t2i_tag,
 * which the core reads before it loads the file: "T2I-PLUGIN abi=0.2 torch=any id=org.example.huber". */
#define T2I_ENTRY_NAME "t2i_plugin_v1"
__attribute__((visibility("default"))) const t2i_plugin *t2i_plugin_v1(void);

#ifdef __cplusplus
}
#endif
#endif
