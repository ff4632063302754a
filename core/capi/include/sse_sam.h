/* SSE-SAM, SAM, ImbSAM and SGD for firmware in C: training steps and small networks in memory that you lend.
 *
 *     static size_t memory[SSE_SAM_PERCEPTRON_WORDS];
 *     static float arena[16404];                               // sizes.floats: sse_sam_plan says how many
 *     sse_sam_network *network = (sse_sam_network *)memory;
 *     sse_sam_perceptron(network, sizeof memory, image, layer_sizes, 3);
 *     sse_sam_plan(network, 16, &update, NULL, &sizes);        // NULL, or options: lean memory, frozen layers, micro-batches
 *     sse_sam_lend(network, arena, sizeof arena / sizeof arena[0]);
 *     sse_sam_set_tail(network, counts, 10, 20);               // and sse_sam_set_loss, if it is not cross-entropy
 *     sse_sam_initialize(network, 0, NULL, NULL);              // or sse_sam_load
 *     for (row = 0; row < 16; row += 1)
 *       sse_sam_put_bytes(network, row, pixels[row], 64, labels[row]);
 *     sse_sam_step(network, 16, &update, &report);
 *
 * Every function but three returns an sse_sam_status, 0 (SSE_SAM_STATUS_OK) when all is well; sse_sam_message has a sentence for
 * it. Nothing allocates, nothing panics. NULL, misaligned and overlapping pointers and wrong lengths are refused; that as
 * much memory is there as you say is your word. A program links the code of the networks it makes: see
 * sse_sam_perceptron. Two handles may work at the same time, one handle only for one caller.
 *
 * Made by cbindgen: SSE_SAM_WRITE_HEADER=1 cargo test -p sse-sam-capi --test header
 */

#ifndef SSE_SAM_H
#define SSE_SAM_H

#include <stddef.h>
#include <stdint.h>

// An upper bound of a handle's size in `size_t`, for a static array: `static size_t handle[SSE_SAM_HANDLE_WORDS];`.
#define SSE_SAM_HANDLE_WORDS 880

// The same of a handle that `sse_sam_perceptron` makes.
#define SSE_SAM_PERCEPTRON_WORDS 400

// Plain cross-entropy; `a` and `b` are not read.
#define SSE_SAM_LOSS_CE 0

// Label-distribution-aware margins: `a` is the largest margin (0.5), `b` its factor (30).
#define SSE_SAM_LOSS_LDAM 1

// Logit adjustment: `a` is tau (1).
#define SSE_SAM_LOSS_LA 2

// Vector scaling: `a` is gamma (0.3), `b` is tau (1).
#define SSE_SAM_LOSS_VS 3

// Balanced softmax; `a` and `b` are not read.
#define SSE_SAM_LOSS_BALANCED_SOFTMAX 4

// Focal loss: `a` is gamma (1).
#define SSE_SAM_LOSS_FOCAL 5

// Vectors as the table of `sse_sam_update` says, and any update.
#define SSE_SAM_MEMORY_FULL 0

// One vector less: gradients are added to the velocity. No Nesterov momentum; a report's squared norm is the velocity's;
// when that is not finite, the velocity becomes 0.
#define SSE_SAM_MEMORY_LEAN 1

// As lean, and one perturbed point serves both groups in turn: 3 vectors at most, for another forward pass.
#define SSE_SAM_MEMORY_RECOMPUTE 2

// What a function returns.
enum sse_sam_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Done.
  SSE_SAM_STATUS_OK = 0,
  // A pointer is NULL.
  SSE_SAM_STATUS_NULL = 1,
  // A pointer is not aligned to its type; a handle's memory is to be aligned as a `size_t`.
  SSE_SAM_STATUS_MISALIGNED = 2,
  // Memory that must not overlap does.
  SSE_SAM_STATUS_OVERLAP = 3,
  // The memory lent for a handle is shorter than `sse_sam_handle_bytes` or `sse_sam_perceptron_bytes` says.
  SSE_SAM_STATUS_SHORT_HANDLE = 4,
  // The memory lent as an arena is shorter than `sse_sam_plan` said.
  SSE_SAM_STATUS_SHORT_ARENA = 5,
  // This is no handle that `sse_sam_perceptron`, `sse_sam_mlp` or `sse_sam_resnet` made.
  SSE_SAM_STATUS_NO_HANDLE = 6,
  // `sse_sam_plan`, `sse_sam_lend`, `sse_sam_lend_frozen` or `sse_sam_lend_samples` has to come first.
  SSE_SAM_STATUS_ORDER = 7,
  // An array has another length than this network's.
  SSE_SAM_STATUS_LENGTH = 8,
  // There is no such network, or a size is 0 or above 2^24 - 1.
  SSE_SAM_STATUS_MODEL = 9,
  // The network has more layers than a handle holds.
  SSE_SAM_STATUS_LAYERS = 10,
  // The batch is empty or larger than planned.
  SSE_SAM_STATUS_BATCH = 11,
  // A label is not below the number of classes.
  SSE_SAM_STATUS_LABEL = 12,
  // A number is outside its range, or not finite.
  SSE_SAM_STATUS_RANGE = 13,
  // The step needs more groups or perturbed points than planned.
  SSE_SAM_STATUS_POINTS = 14,
  // The plan needs more than this machine can address.
  SSE_SAM_STATUS_TOO_LARGE = 15,
  // The gradient is not finite: the parameters are as before the step, and so is the velocity but in lean memory.
  SSE_SAM_STATUS_NOT_FINITE = 16,
  // The library contradicts itself: a bug, worth a report.
  SSE_SAM_STATUS_INTERNAL = 17,
  // There are fewer numbers for frozen layers than `sse_sam_plan` said.
  SSE_SAM_STATUS_SHORT_FROZEN = 18,
  // Lean memory keeps no gradient, which Nesterov momentum needs.
  SSE_SAM_STATUS_NESTEROV = 19,
  // A layer that is trained normalises by its batch, which cannot pass in pieces then.
  SSE_SAM_STATUS_PIECES = 20,
  // What `sse_sam_perceptron` makes takes no focal loss; what `sse_sam_mlp` makes does.
  SSE_SAM_STATUS_FOCAL = 21,
  // A row holds no image: with frozen layers or a micro-batch, every step and every classification uses them up.
  SSE_SAM_STATUS_ROWS = 22,
  // There is no such sample.
  SSE_SAM_STATUS_SAMPLE = 23,
  // What `sse_sam_perceptron` makes takes no options; what `sse_sam_perceptron_with_options` makes does.
  SSE_SAM_STATUS_OPTIONS = 24,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sse_sam_status sse_sam_status;
#else
typedef int32_t sse_sam_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A network in the caller's memory: only functions of this file look inside.
typedef struct sse_sam_network sse_sam_network;

// One image, `[height][width][channels]`; for rows of features 1, 1 and their number.
typedef struct sse_sam_image {
  // Rows of pixels.
  uint32_t height;
  // Pixels a row.
  uint32_t width;
  // Values a pixel.
  uint32_t channels;
} sse_sam_image;

// How a step updates the parameters.
//
// | method           | `groups` | `radius`          | `tail_radius` | vectors as long as the parameters |
// |------------------|----------|-------------------|---------------|-----------------------------------|
// | SGD              | 1        | 0                 | not read      | 3                                 |
// | SAM              | 1        | rho               | not read      | 4                                 |
// | ImbSAM           | 2        | 0                 | rho           | 4                                 |
// | SSE-SAM, stage 1 | 2        | head_rho          | tail_rho      | 5                                 |
// | SSE-SAM, stage 2 | 2        | 0                 | tail_rho      | 4                                 |
// | Focal-SAM        | 2        | 0                 | rho           | 4                                 |
//
// Which samples are in the second group `sse_sam_set_tail` says, or, for Focal-SAM, `sse_sam_set_focal_sam`: there a
// sample is in both, by shares.
typedef struct sse_sam_update {
  // 1, or 2 when there is a second group: the tail's samples, or Focal-SAM's shares.
  uint32_t groups;
  // How far the (first) group's point lies from the parameters.
  float radius;
  // How far the second group's point lies from the parameters.
  float tail_radius;
  // Step length.
  float learning_rate;
  // Share of the velocity that is kept.
  float momentum;
  // Factor of the parameters in the gradient.
  float weight_decay;
  // 1 for Nesterov momentum, else 0.
  uint32_t nesterov;
} sse_sam_update;

// How to train in less memory. All 0: every layer, whole batches, full memory.
typedef struct sse_sam_options {
  // `SSE_SAM_MEMORY_...`.
  uint32_t memory;
  // How many of the last layers with parameters are trained (a batch norm is one too); 0 for all. The others are frozen:
  // they lie in memory of yours (`sse_sam_lend_frozen`), normalise as in evaluation, and have no gradient.
  uint32_t trainable_layers;
  // Rows that pass through the network at a time, for networks without batch norm (but in frozen layers); 0 for the
  // whole batch. Above 0, steps take rows that `sse_sam_put_sample` named, and pass head and tail by themselves.
  size_t micro_batch;
} sse_sam_options;

// What a plan needs.
typedef struct sse_sam_sizes {
  // Floats of the arena.
  size_t floats;
  // Floats that `sse_sam_load` and `sse_sam_save` take: trained parameters, then their running statistics.
  size_t weights;
  // How many of them are parameters.
  size_t parameters;
  // Number of classes.
  size_t classes;
  // Floats that `sse_sam_lend_frozen` takes: 0 when every layer is trained.
  size_t frozen;
} sse_sam_sizes;

// What a step found. A loss of the batch is `head + tail`: sums over a group's samples, divided by the batch.
typedef struct sse_sam_report {
  // Loss of the first group at the parameters.
  float head;
  // Loss of the tail at the parameters; 0 without a second group.
  float tail;
  // Loss of the first group at its perturbed point; 0 where there is none.
  float perturbed_head;
  // Loss of the tail at its perturbed point; 0 where there is none.
  float perturbed_tail;
  // Squared norm of the update's gradient.
  float squared_norm;
} sse_sam_report;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Bytes of memory that a handle takes which `sse_sam_mlp` or `sse_sam_resnet` makes, aligned as a `size_t`.
size_t sse_sam_handle_bytes(void);

// Bytes of memory that a handle takes which `sse_sam_perceptron` makes, aligned as a `size_t`.
size_t sse_sam_perceptron_bytes(void);

// A sentence for what a function returned; static, never NULL.
const char *sse_sam_message(int32_t status);

// Makes a multi-layer perceptron as `sse_sam_mlp` does, the same bits in less memory and flash: of 2 to 5 sizes, and for
// losses without a focal factor, planned without options. A program that makes no other network links no convolution,
// batch norm or pooling.
sse_sam_status sse_sam_perceptron(struct sse_sam_network *network,
                                  size_t bytes,
                                  struct sse_sam_image image,
                                  const uint32_t *layer_sizes,
                                  size_t count);

// As `sse_sam_perceptron`, for a network that is planned with options: some more flash.
sse_sam_status sse_sam_perceptron_with_options(struct sse_sam_network *network,
                                               size_t bytes,
                                               struct sse_sam_image image,
                                               const uint32_t *layer_sizes,
                                               size_t count);

// Makes a multi-layer perceptron in `bytes` of memory at `network`: linear layers of `count` sizes (2 to 13) with ReLU
// between. The first size is `height * width * channels`, the last one the number of classes.
sse_sam_status sse_sam_mlp(struct sse_sam_network *network,
                           size_t bytes,
                           struct sse_sam_image image,
                           const uint32_t *layer_sizes,
                           size_t count);

// Makes a residual network in `bytes` of memory at `network`: `depth` 8, 20, 32, 44, 56 (three stages of `width`, 2 and
// 4 times `width` channels) or 18, 34 (four stages), as `resnet8:4` is depth 8 and width 4.
sse_sam_status sse_sam_resnet(struct sse_sam_network *network,
                              size_t bytes,
                              struct sse_sam_image image,
                              uint32_t depth,
                              uint32_t width,
                              uint32_t classes);

// Plans training with batches of at most `batch` rows and steps that need no more than `largest`: as many groups, as
// many radii above 0. `options` may be NULL. Takes back whatever was lent before.
sse_sam_status sse_sam_plan(struct sse_sam_network *network,
                            size_t batch,
                            const struct sse_sam_update *largest,
                            const struct sse_sam_options *options,
                            struct sse_sam_sizes *sizes);

// Lends `floats` floats at `arena`, at least as many as planned: they are the library's until the next plan. Everything
// in them becomes 0, the loss plain cross-entropy without a tail, and bytes are divided by 255.
sse_sam_status sse_sam_lend(struct sse_sam_network *network,
                            float *arena,
                            size_t floats);

// Lends the numbers of frozen layers, `floats` of them, at least as many as planned; in flash, say, and read there until
// the next plan. Layer by layer: weight, bias, and of a batch norm mean and variance; so those of a perceptron are the
// first of the numbers that `sse-sam export` writes, and `sse_sam_load` takes the rest.
sse_sam_status sse_sam_lend_frozen(struct sse_sam_network *network,
                                   const float *numbers,
                                   size_t floats);

// Lends `count` samples, in flash, say, for `sse_sam_put_sample`, until the next plan: a byte with the label of each, then
// the image of each, a byte a value.
sse_sam_status sse_sam_lend_samples(struct sse_sam_network *network,
                                    const uint8_t *samples,
                                    size_t count);

// Says which classes are tail: those with fewer than `eta` training samples in `counts`, of `classes` classes.
sse_sam_status sse_sam_set_tail(struct sse_sam_network *network,
                                const uint32_t *counts,
                                size_t classes,
                                uint32_t eta);

// Says what of a sample's loss Focal-SAM perturbs, by its class: `lambda * (1 - n_c / N)^gamma` of `n_c` training samples
// in `counts`, of `classes` classes, among `N`. `lambda` is in 0 to 1, `gamma` at least 0. Takes the place of
// `sse_sam_set_tail`.
sse_sam_status sse_sam_set_focal_sam(struct sse_sam_network *network,
                                     const uint32_t *counts,
                                     size_t classes,
                                     double lambda,
                                     double gamma);

// Chooses the loss (`SSE_SAM_LOSS_...` with its numbers `a` and `b`) for `counts`, the training samples of each of
// `classes` classes. Plain cross-entropy needs no such call, and spares a program the others' logarithms and powers.
sse_sam_status sse_sam_set_loss(struct sse_sam_network *network,
                                const uint32_t *counts,
                                size_t classes,
                                uint32_t loss,
                                double a,
                                double b);

// Says how bytes become numbers, `(byte - mean) * factor`: `table` holds the mean of each channel, then one over the
// deviation of each, `2 * channels` floats in all.
sse_sam_status sse_sam_set_normalization(struct sse_sam_network *network,
                                         const float *table,
                                         size_t floats);

// Draws initial weights; the velocity becomes 0. `draw` returns the next 32 random bits of a layer (counted from 0) and
// is given `context`. Where it is NULL, `seed` decides, and the network starts as `sse-sam train --seed` does.
sse_sam_status sse_sam_initialize(struct sse_sam_network *network,
                                  uint64_t seed,
                                  uint32_t (*draw)(void *context, uint32_t layer),
                                  void *context);

// Makes `floats` numbers at `weights` the network's: parameters, then running statistics, as `sse_sam_save` and
// `sse-sam export` write them. The velocity becomes 0.
sse_sam_status sse_sam_load(struct sse_sam_network *network,
                            const float *weights,
                            size_t floats);

// Copies the network's numbers to `floats` floats at `weights`: parameters, then running statistics (mean, then variance
// of each batch norm), layer by layer; images and kernels with channels last, as `sse-sam import` reads them.
sse_sam_status sse_sam_save(struct sse_sam_network *network,
                            float *weights,
                            size_t floats);

// Makes one image of bytes row `row` (from 0) of the batch, normalised, with its label (any class when it is only to be
// classified). It stays until it is overwritten.
sse_sam_status sse_sam_put_bytes(struct sse_sam_network *network,
                                 size_t row,
                                 const uint8_t *pixels,
                                 size_t length,
                                 uint32_t label);

// Makes one image or row of features, floats that the network takes as they are, row `row` of the batch; else as
// `sse_sam_put_bytes`.
sse_sam_status sse_sam_put_floats(struct sse_sam_network *network,
                                  size_t row,
                                  const float *pixels,
                                  size_t length,
                                  uint32_t label);

// Makes sample `index` of those lent (from 0) row `row` of the batch. Pixel (y, x) of the row is pixel
// (y + `top`, x + `left`) of the sample, mirrored left to right first if `flip` is 1 (else 0), and black outside.
sse_sam_status sse_sam_put_sample(struct sse_sam_network *network,
                                  size_t row,
                                  uint32_t index,
                                  int8_t top,
                                  int8_t left,
                                  uint32_t flip);

// One step of training on the first `rows` rows of the batch. `report` may be NULL. When the gradient is not finite, the
// parameters stay and `SSE_SAM_STATUS_NOT_FINITE` comes back.
sse_sam_status sse_sam_step(struct sse_sam_network *network,
                            size_t rows,
                            const struct sse_sam_update *update,
                            struct sse_sam_report *report);

// Classifies the first `rows` rows of the batch: `classes[row]` is the class of the largest logit. `logits`, `floats`
// floats as `[rows][classes]`, may be NULL.
sse_sam_status sse_sam_predict(struct sse_sam_network *network,
                               size_t rows,
                               uint32_t *classes,
                               float *logits,
                               size_t floats);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SSE_SAM_H */
