/* Options, frozen layers, samples and perceptrons by themselves, used well and badly. Prints what is wrong and where; ends
 * with 1 then. */
#include "bench.h"

enum { COUNT = 8, FIRST = PIXELS * 5 + 5, LAST = WEIGHTS - FIRST };
static const sse_sam_options FULL = {SSE_SAM_MEMORY_FULL, 0, 0};
static const sse_sam_options LEAN = {SSE_SAM_MEMORY_LEAN, 0, 0};
static const sse_sam_options RECOMPUTE = {SSE_SAM_MEMORY_RECOMPUTE, 0, 0};
static const sse_sam_options LAST_LAYER = {SSE_SAM_MEMORY_FULL, 1, 0};
static const sse_sam_options SINGLE = {SSE_SAM_MEMORY_FULL, 0, 1};

/* A network that was planned with options and has its arena, and nothing else. */
static bench lent(const sse_sam_options *options) {
  bench bench = made();
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, options, &bench.sizes), OK);
  bench.arena = memory(bench.sizes.floats * sizeof(float));
  IS(sse_sam_lend(bench.network, bench.arena, bench.sizes.floats), OK);
  return bench;
}

/* The same with tail and weights, where no frozen layers are to be lent first. */
static bench begun(const sse_sam_options *options) {
  bench bench = lent(options);
  if (bench.sizes.frozen == 0) {
    IS(sse_sam_set_tail(bench.network, COUNTS, CLASSES, 10), OK);
    IS(sse_sam_initialize(bench.network, 7, NULL, NULL), OK);
  }
  return bench;
}

/* Labels, then images: one bright pixel for each class, and some noise. */
static uint8_t *pictures(void) {
  uint8_t *samples = memory(COUNT * (1 + PIXELS));
  for (uint32_t sample = 0; sample < COUNT; sample += 1) {
    uint8_t *pixels = samples + COUNT + sample * PIXELS;
    samples[sample] = (uint8_t)(sample * 5 % CLASSES);
    for (uint32_t pixel = 0; pixel < PIXELS; pixel += 1)
      pixels[pixel] = (uint8_t)((pixel * 41 + sample * 17) % 60);
    pixels[2 * samples[sample]] = 220;
  }
  return samples;
}

static void put_samples(sse_sam_network *network, uint32_t first) {
  for (uint32_t row = 0; row < BATCH; row += 1)
    IS(sse_sam_put_sample(network, row, (first + row) % COUNT, 0, 0, 0), OK);
}

static int same(const float *first, const float *second, size_t length) {
  return memcmp(first, second, length * sizeof(float)) == 0;
}

/* The largest difference of two lists. */
static float apart(const float *first, const float *second, size_t length) {
  float largest = 0.0f;
  for (size_t at = 0; at < length; at += 1)
    largest = fmaxf(largest, fabsf(first[at] - second[at]));
  return largest;
}

/* The weights after five steps of two stages, on samples. */
static float *after_steps(const sse_sam_options *options) {
  bench bench = begun(options);
  sse_sam_update update = SSE_SAM;
  uint8_t *samples = pictures();
  float *weights = memory(WEIGHTS * sizeof(float));
  IS(sse_sam_lend_samples(bench.network, samples, COUNT), OK);
  for (uint32_t step = 0; step < 5; step += 1) {
    sse_sam_report report = {0, 0, 0, 0, 0};
    update.radius = step < 3 ? SSE_SAM.radius : 0.0f;
    put_samples(bench.network, step);
    IS(sse_sam_step(bench.network, BATCH, &update, &report), OK);
    HOLDS(report.head > 0.0f && report.tail > 0.0f && report.perturbed_tail > 0.0f && report.squared_norm > 0.0f);
  }
  saved(&bench, weights);
  free(samples);
  end(bench);
  return weights;
}

static void every_memory_computes_the_same_up_to_rounding(void) {
  const sse_sam_options options[7] = {FULL, LEAN, RECOMPUTE, SINGLE, {SSE_SAM_MEMORY_RECOMPUTE, 0, 1}, {SSE_SAM_MEMORY_LEAN, 0, 4},
                                      {SSE_SAM_MEMORY_FULL, 2, BATCH}};
  float *expected = after_steps(NULL), *start;
  bench bench = ready();
  start = memory(WEIGHTS * sizeof(float));
  saved(&bench, start);
  HOLDS(apart(start, expected, WEIGHTS) > 0.05f);
  for (int option = 0; option < 7; option += 1) {
    float *found = after_steps(&options[option]);
    HOLDS(apart(found, expected, WEIGHTS) < 1e-5f);
    HOLDS(option > 0 || same(found, expected, WEIGHTS));
    free(found);
  }
  free(expected);
  free(start);
  end(bench);
}

static void less_memory_is_less_memory(void) {
  bench full = lent(NULL), zero = lent(&FULL), lean = lent(&LEAN), recompute = lent(&RECOMPUTE), single = lent(&SINGLE);
  HOLDS(zero.sizes.floats == full.sizes.floats);
  HOLDS(lean.sizes.floats == full.sizes.floats - WEIGHTS);
  HOLDS(recompute.sizes.floats < lean.sizes.floats - WEIGHTS);
  /* A row: label, two weights, input, hidden layer twice, logits, a gradient of each of the latter two; the batch: tables of
   * rows. Without pieces there are two gradients at a time. */
  size_t row = 3 + PIXELS + 2 * 5 + CLASSES, gradients = 5 + 5, table = 2 * 4 * BATCH + 1;
  HOLDS(full.sizes.floats - single.sizes.floats == (BATCH - 1) * row + (2 * BATCH - 1) * gradients - table);
  HOLDS(single.sizes.weights == WEIGHTS && single.sizes.parameters == WEIGHTS && single.sizes.frozen == 0);
  end(full);
  end(zero);
  end(lean);
  end(recompute);
  end(single);
}

static void options_are_checked(void) {
  bench bench = made();
  sse_sam_sizes sizes;
  sse_sam_update update = SSE_SAM;
  sse_sam_options options = FULL;
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, (const sse_sam_options *)((const char *)&options + 1), &sizes), MISALIGNED);
  for (uint32_t value = 3; value != 1; value = value == 3 ? UINT32_MAX : 1) {
    options.memory = value;
    IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, &options, &sizes), RANGE);
    options.memory = 0;
    options.trainable_layers = value;
    IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, &options, &sizes), RANGE);
    options.trainable_layers = 0;
  }
  options.micro_batch = BATCH + 1;
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, &options, &sizes), BATCH);
  options.micro_batch = SIZE_MAX;
  IS(sse_sam_plan(bench.network, SIZE_MAX, &SSE_SAM, &options, &sizes), TOO_LARGE);
  options.micro_batch = 1;
  IS(sse_sam_plan(bench.network, SIZE_MAX / 2, &SSE_SAM, &options, &sizes), TOO_LARGE);
  update.nesterov = 1;
  IS(sse_sam_plan(bench.network, BATCH, &update, &LEAN, &sizes), NESTEROV);
  IS(sse_sam_plan(bench.network, BATCH, &update, &RECOMPUTE, &sizes), NESTEROV);
  IS(sse_sam_plan(bench.network, BATCH, &update, &SINGLE, &sizes), OK);
  /* A plan that failed leaves none. */
  IS(sse_sam_plan(bench.network, BATCH, &update, &LEAN, &sizes), NESTEROV);
  float arena[1];
  IS(sse_sam_lend(bench.network, arena, 1), ORDER);
  IS(sse_sam_resnet(bench.network, sse_sam_handle_bytes(), IMAGE, 8, 3, CLASSES), OK);
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, &SINGLE, &sizes), PIECES);
  end(bench);
}

static void lean_steps_refuse_nesterov_and_survive_what_is_not_finite(void) {
  const sse_sam_options *options[2] = {&LEAN, &RECOMPUTE};
  float *before = memory(WEIGHTS * sizeof(float)), *after = memory(WEIGHTS * sizeof(float)), pixels[PIXELS];
  for (int option = 0; option < 2; option += 1) {
    bench bench = begun(options[option]);
    sse_sam_update update = SSE_SAM;
    put_batch(bench.network, 0);
    saved(&bench, before);
    update.nesterov = 1;
    IS(sse_sam_step(bench.network, BATCH, &update, NULL), NESTEROV);
    for (int pixel = 0; pixel < PIXELS; pixel += 1)
      pixels[pixel] = INFINITY;
    IS(sse_sam_put_floats(bench.network, 0, pixels, PIXELS, 0), OK);
    IS(sse_sam_step(bench.network, BATCH, &SSE_SAM, NULL), NOT_FINITE);
    saved(&bench, after);
    HOLDS(same(before, after, WEIGHTS));
    put_batch(bench.network, 0);
    IS(sse_sam_step(bench.network, BATCH, &SSE_SAM, NULL), OK);
    saved(&bench, after);
    HOLDS(!same(before, after, WEIGHTS) && apart(before, after, WEIGHTS) < 1.0f);
    end(bench);
  }
  free(before);
  free(after);
}

static void frozen_layers_are_lent_first_and_checked(void) {
  bench bench = lent(&LAST_LAYER);
  sse_sam_network *network = bench.network;
  float *frozen = memory(FIRST * sizeof(float));
  HOLDS(bench.sizes.frozen == FIRST && bench.sizes.weights == LAST && bench.sizes.parameters == LAST);
  memset(frozen, 0, FIRST * sizeof(float));
  IS(sse_sam_initialize(network, 7, NULL, NULL), ORDER);
  IS(sse_sam_lend_frozen(network, NULL, FIRST), NULL);
  IS(sse_sam_lend_frozen(network, (const float *)((const char *)frozen + 2), FIRST - 1), MISALIGNED);
  IS(sse_sam_lend_frozen(network, frozen, FIRST - 1), SHORT_FROZEN);
  IS(sse_sam_lend_frozen(network, frozen, 0), SHORT_FROZEN);
  IS(sse_sam_lend_frozen(network, frozen, SIZE_MAX / 2), LENGTH);
  IS(sse_sam_lend_frozen(network, bench.arena, FIRST), OVERLAP);
  IS(sse_sam_lend_frozen(network, (const float *)network, FIRST), OVERLAP);
  frozen[FIRST - 1] = NAN;
  IS(sse_sam_lend_frozen(network, frozen, FIRST), RANGE);
  frozen[FIRST - 1] = 0.0f;
  uint32_t classes[1];
  IS(sse_sam_predict(network, 1, classes, NULL, 0), ORDER);
  IS(sse_sam_lend_frozen(network, frozen, FIRST), OK);
  IS(sse_sam_initialize(network, 7, NULL, NULL), OK);
  IS(sse_sam_save(network, frozen, LAST), OVERLAP);
  IS(sse_sam_lend(network, frozen, bench.sizes.floats), OVERLAP);
  /* The next plan takes them back. */
  IS(sse_sam_plan(network, BATCH, &SSE_SAM, &LAST_LAYER, &bench.sizes), OK);
  IS(sse_sam_lend(network, bench.arena, bench.sizes.floats), OK);
  IS(sse_sam_initialize(network, 7, NULL, NULL), ORDER);
  free(frozen);
  end(bench);
  sse_sam_network *none = made().network;
  IS(sse_sam_lend_frozen(none, NULL, 0), ORDER);
  IS(sse_sam_lend_frozen(NULL, NULL, 0), NULL);
  free(none);
}

static void fine_tuning_changes_the_last_layer_as_gradient_descent_on_it_alone(void) {
  bench whole = ready(), tuned = begun(&LAST_LAYER);
  float *weights = memory(WEIGHTS * sizeof(float)), *first = memory(FIRST * sizeof(float)), last[LAST], found[LAST];
  float expected_logits[BATCH * CLASSES], logits[BATCH * CLASSES];
  uint32_t classes[BATCH];
  saved(&whole, weights);
  memcpy(first, weights, FIRST * sizeof(float));
  memcpy(last, weights + FIRST, LAST * sizeof(float));
  IS(sse_sam_lend_frozen(tuned.network, first, FIRST), OK);
  IS(sse_sam_load(tuned.network, last, LAST), OK);
  put_batch(whole.network, 3);
  put_batch(tuned.network, 3);
  IS(sse_sam_predict(whole.network, BATCH, classes, expected_logits, BATCH * CLASSES), OK);
  IS(sse_sam_predict(tuned.network, BATCH, classes, logits, BATCH * CLASSES), OK);
  HOLDS(same(logits, expected_logits, BATCH * CLASSES));
  /* Without momentum and perturbation, the last layer does not see whether the first one moves. */
  const sse_sam_update plain = {1, 0.0f, 0.0f, 0.2f, 0.0f, 0.0f, 0};
  put_batch(tuned.network, 3);
  IS(sse_sam_step(whole.network, BATCH, &plain, NULL), OK);
  IS(sse_sam_step(tuned.network, BATCH, &plain, NULL), OK);
  saved(&whole, weights);
  IS(sse_sam_save(tuned.network, found, LAST), OK);
  HOLDS(same(weights + FIRST, found, LAST) && !same(last, found, LAST));
  free(weights);
  free(first);
  end(whole);
  end(tuned);
}

static void a_pass_uses_rows_up_where_it_overwrites_them(void) {
  bench bench = begun(&LAST_LAYER);
  sse_sam_network *network = bench.network;
  float *frozen = memory(FIRST * sizeof(float));
  uint32_t classes[BATCH];
  memset(frozen, 0, FIRST * sizeof(float));
  IS(sse_sam_lend_frozen(network, frozen, FIRST), OK);
  IS(sse_sam_initialize(network, 7, NULL, NULL), OK);
  IS(sse_sam_predict(network, 1, classes, NULL, 0), ROWS);
  put_batch(network, 0);
  IS(sse_sam_predict(network, BATCH, classes, NULL, 0), OK);
  IS(sse_sam_predict(network, BATCH, classes, NULL, 0), ROWS);
  IS(sse_sam_step(network, BATCH, &SSE_SAM, NULL), ROWS);
  put_batch(network, 0);
  IS(sse_sam_step(network, BATCH, &SSE_SAM, NULL), OK);
  IS(sse_sam_step(network, BATCH, &SSE_SAM, NULL), ROWS);
  free(frozen);
  end(bench);
}

static void a_residual_network_trains_its_last_layer_in_pieces(void) {
  bench bench = {memory(sse_sam_handle_bytes()), NULL, {0, 0, 0, 0, 0}};
  const sse_sam_options options = {SSE_SAM_MEMORY_RECOMPUTE, 1, 2}, norm = {SSE_SAM_MEMORY_FULL, 2, 2};
  IS(sse_sam_resnet(bench.network, sse_sam_handle_bytes(), IMAGE, 8, 3, CLASSES), OK);
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, &norm, &bench.sizes), PIECES);
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, &options, &bench.sizes), OK);
  HOLDS(bench.sizes.weights == 12 * CLASSES + CLASSES && bench.sizes.frozen > bench.sizes.weights);
  float *frozen = memory(bench.sizes.frozen * sizeof(float)), weights[12 * CLASSES + CLASSES];
  uint8_t *samples = pictures();
  bench.arena = memory(bench.sizes.floats * sizeof(float));
  for (size_t at = 0; at < bench.sizes.frozen; at += 1)
    frozen[at] = 0.25f + (float)(at * 29 % 64) / 128.0f;
  IS(sse_sam_lend(bench.network, bench.arena, bench.sizes.floats), OK);
  IS(sse_sam_lend_frozen(bench.network, frozen, bench.sizes.frozen), OK);
  IS(sse_sam_lend_samples(bench.network, samples, COUNT), OK);
  IS(sse_sam_initialize(bench.network, 7, NULL, NULL), OK);
  put_samples(bench.network, 0);
  IS(sse_sam_step(bench.network, BATCH, &SSE_SAM, NULL), OK);
  IS(sse_sam_save(bench.network, weights, bench.sizes.weights), OK);
  IS(sse_sam_load(bench.network, weights, bench.sizes.weights), OK);
  free(frozen);
  free(samples);
  end(bench);
}

static void samples_are_lent_first_and_checked(void) {
  const sse_sam_options *options[2] = {NULL, &SINGLE};
  uint8_t *samples = pictures();
  for (int option = 0; option < 2; option += 1) {
    bench bench = begun(options[option]);
    sse_sam_network *network = bench.network;
    IS(sse_sam_put_sample(network, 0, 0, 0, 0, 0), SAMPLE);
    IS(sse_sam_lend_samples(network, NULL, COUNT), NULL);
    IS(sse_sam_lend_samples(network, samples, 0), LENGTH);
    IS(sse_sam_lend_samples(network, samples, SIZE_MAX), LENGTH);
    IS(sse_sam_lend_samples(network, samples, SIZE_MAX / (1 + PIXELS)), LENGTH);
    IS(sse_sam_lend_samples(network, (const uint8_t *)bench.arena, COUNT), OVERLAP);
    IS(sse_sam_lend_samples(network, (const uint8_t *)network, COUNT), OVERLAP);
    IS(sse_sam_lend_samples(network, samples, COUNT), OK);
    IS(sse_sam_put_sample(network, 0, COUNT, 0, 0, 0), SAMPLE);
    IS(sse_sam_put_sample(network, 0, UINT32_MAX, 0, 0, 0), SAMPLE);
    IS(sse_sam_put_sample(network, BATCH, 0, 0, 0, 0), BATCH);
    IS(sse_sam_put_sample(network, SIZE_MAX, 0, 0, 0, 0), BATCH);
    IS(sse_sam_put_sample(network, 0, 0, 0, 0, 2), RANGE);
    samples[3] = CLASSES;
    IS(sse_sam_put_sample(network, 0, 3, 0, 0, 0), LABEL);
    samples[3] = 3;
    IS(sse_sam_put_sample(network, BATCH - 1, COUNT - 1, INT8_MIN, INT8_MAX, 1), OK);
    end(bench);
  }
  sse_sam_network *none = made().network;
  IS(sse_sam_lend_samples(none, samples, COUNT), ORDER);
  IS(sse_sam_put_sample(none, 0, 0, 0, 0, 0), ORDER);
  IS(sse_sam_put_sample(NULL, 0, 0, 0, 0, 0), NULL);
  free(none);
  free(samples);
}

static void pieces_are_checked_when_they_come(void) {
  bench bench = begun(&SINGLE);
  sse_sam_network *network = bench.network;
  uint8_t *samples = pictures(), *fewer = memory(4 * (1 + PIXELS)), pixels[PIXELS] = {0};
  float *before = memory(WEIGHTS * sizeof(float)), *after = memory(WEIGHTS * sizeof(float));
  uint32_t classes[2];
  IS(sse_sam_step(network, BATCH, &SSE_SAM, NULL), ORDER);
  IS(sse_sam_lend_samples(network, samples, COUNT), OK);
  put_samples(network, 0);
  IS(sse_sam_step(network, 0, &SSE_SAM, NULL), BATCH);
  IS(sse_sam_step(network, BATCH + 1, &SSE_SAM, NULL), BATCH);
  saved(&bench, before);
  /* What rows named is gone, or has become something else. */
  memset(fewer, 0, 4 * (1 + PIXELS));
  IS(sse_sam_lend_samples(network, fewer, 4), OK);
  IS(sse_sam_step(network, BATCH, &SSE_SAM, NULL), SAMPLE);
  IS(sse_sam_lend_samples(network, samples, COUNT), OK);
  samples[1] = 255;
  IS(sse_sam_step(network, BATCH, &SSE_SAM, NULL), LABEL);
  samples[1] = 1;
  saved(&bench, after);
  HOLDS(same(before, after, WEIGHTS));
  IS(sse_sam_step(network, BATCH, &SSE_SAM, NULL), OK);
  /* The table stays; the row that a piece went through does not. */
  IS(sse_sam_step(network, BATCH, &SSE_SAM, NULL), OK);
  IS(sse_sam_predict(network, 1, classes, NULL, 0), ROWS);
  IS(sse_sam_put_bytes(network, 0, pixels, PIXELS, 0), OK);
  IS(sse_sam_put_bytes(network, 1, pixels, PIXELS, 0), BATCH);
  IS(sse_sam_predict(network, 2, classes, NULL, 0), BATCH);
  IS(sse_sam_predict(network, 1, classes, NULL, 0), OK);
  free(samples);
  free(fewer);
  free(before);
  free(after);
  end(bench);
}

static void samples_are_bytes_moved_and_mirrored(void) {
  bench bench = begun(NULL);
  uint8_t *samples = pictures(), moved[PIXELS];
  float logits[2 * CLASSES];
  uint32_t classes[2];
  IS(sse_sam_lend_samples(bench.network, samples, COUNT), OK);
  for (int flip = 0; flip < 2; flip += 1)
    for (int top = -1; top < 2; top += 1)
      for (int left = -2; left < 2; left += 1) {
        for (int y = 0; y < SIDE; y += 1)
          for (int x = 0; x < SIDE; x += 1) {
            int row = y + top, column = x + left, inside = row >= 0 && row < SIDE && column >= 0 && column < SIDE;
            const uint8_t *sample = samples + COUNT + 5 * PIXELS;
            moved[y * SIDE + x] = inside ? sample[row * SIDE + (flip ? SIDE - 1 - column : column)] : 0;
          }
        IS(sse_sam_put_bytes(bench.network, 0, moved, PIXELS, samples[5]), OK);
        IS(sse_sam_put_sample(bench.network, 1, 5, (int8_t)top, (int8_t)left, (uint32_t)flip), OK);
        IS(sse_sam_predict(bench.network, 2, classes, logits, 2 * CLASSES), OK);
        HOLDS(same(logits, logits + CLASSES, CLASSES));
      }
  free(samples);
  end(bench);
}

/* A perceptron by itself, of either kind. */
static sse_sam_network *perceptron(int with_options) {
  size_t bytes = sse_sam_perceptron_bytes();
  sse_sam_network *network = memory(bytes);
  if (with_options)
    IS(sse_sam_perceptron_with_options(network, bytes, IMAGE, LAYER_SIZES, 3), OK);
  else
    IS(sse_sam_perceptron(network, bytes, IMAGE, LAYER_SIZES, 3), OK);
  return network;
}

static void perceptrons_refuse_what_they_cannot(void) {
  size_t bytes = sse_sam_perceptron_bytes();
  HOLDS(bytes <= SSE_SAM_PERCEPTRON_WORDS * sizeof(size_t) && bytes < sse_sam_handle_bytes());
  static const uint32_t deep[6] = {PIXELS, 8, 8, 8, 8, CLASSES}, fitting[5] = {PIXELS, 8, 8, 8, CLASSES};
  sse_sam_network *network = perceptron(0);
  sse_sam_sizes sizes;
  IS(sse_sam_perceptron(network, bytes - 1, IMAGE, LAYER_SIZES, 3), SHORT_HANDLE);
  IS(sse_sam_perceptron(NULL, bytes, IMAGE, LAYER_SIZES, 3), NULL);
  IS(sse_sam_perceptron(network, bytes, IMAGE, LAYER_SIZES, 1), MODEL);
  IS(sse_sam_perceptron(network, bytes, IMAGE, deep, 6), LAYERS);
  IS(sse_sam_plan(network, BATCH, &SSE_SAM, NULL, &sizes), NO_HANDLE);
  IS(sse_sam_perceptron(network, bytes, IMAGE, fitting, 5), OK);
  IS(sse_sam_mlp(network, bytes, IMAGE, LAYER_SIZES, 3), SHORT_HANDLE);
  IS(sse_sam_plan(network, BATCH, &SSE_SAM, &LEAN, &sizes), OPTIONS);
  IS(sse_sam_plan(network, BATCH, &SSE_SAM, &LAST_LAYER, &sizes), OPTIONS);
  IS(sse_sam_plan(network, BATCH, &SSE_SAM, &SINGLE, &sizes), OPTIONS);
  IS(sse_sam_plan(network, BATCH, &SSE_SAM, &FULL, &sizes), OK);
  float *arena = memory(sizes.floats * sizeof(float));
  IS(sse_sam_lend(network, arena, sizes.floats), OK);
  IS(sse_sam_set_loss(network, COUNTS, CLASSES, SSE_SAM_LOSS_FOCAL, 1.0, 0.0), FOCAL);
  IS(sse_sam_set_loss(network, COUNTS, CLASSES, SSE_SAM_LOSS_FOCAL, 0.0, 0.0), OK);
  IS(sse_sam_set_loss(network, COUNTS, CLASSES, SSE_SAM_LOSS_LDAM, 0.5, 1.0), OK);
  free(arena);
  free(network);
}

static void perceptrons_have_the_bits_of_networks_of_any_kind(void) {
  const sse_sam_options *options[4] = {NULL, &LEAN, &RECOMPUTE, &SINGLE};
  for (int kind = 0; kind < 5; kind += 1) {
    const sse_sam_options *own = kind == 0 ? NULL : options[kind - 1];
    float *expected = after_steps(own), *found = memory(WEIGHTS * sizeof(float));
    uint8_t *samples = pictures();
    bench bench = {perceptron(kind > 0), NULL, {0, 0, 0, 0, 0}};
    IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, own, &bench.sizes), OK);
    bench.arena = memory(bench.sizes.floats * sizeof(float));
    IS(sse_sam_lend(bench.network, bench.arena, bench.sizes.floats), OK);
    IS(sse_sam_set_tail(bench.network, COUNTS, CLASSES, 10), OK);
    IS(sse_sam_lend_samples(bench.network, samples, COUNT), OK);
    IS(sse_sam_initialize(bench.network, 7, NULL, NULL), OK);
    for (uint32_t step = 0; step < 5; step += 1) {
      sse_sam_update update = SSE_SAM;
      update.radius = step < 3 ? SSE_SAM.radius : 0.0f;
      put_samples(bench.network, step);
      IS(sse_sam_step(bench.network, BATCH, &update, NULL), OK);
    }
    saved(&bench, found);
    HOLDS(same(found, expected, WEIGHTS));
    free(samples);
    free(expected);
    free(found);
    end(bench);
  }
}

static void tails_are_checked(void) {
  bench bench = begun(NULL);
  IS(sse_sam_set_tail(bench.network, NULL, CLASSES, 10), NULL);
  IS(sse_sam_set_tail(bench.network, COUNTS, CLASSES - 1, 10), LENGTH);
  IS(sse_sam_set_tail(bench.network, COUNTS, CLASSES + 1, 10), LENGTH);
  IS(sse_sam_set_tail(bench.network, (const uint32_t *)bench.arena, CLASSES, 10), OVERLAP);
  sse_sam_report report;
  put_batch(bench.network, 0);
  IS(sse_sam_set_tail(bench.network, COUNTS, CLASSES, 0), OK);
  IS(sse_sam_step(bench.network, BATCH, &SSE_SAM, &report), OK);
  HOLDS(report.head > 0.0f && report.tail == 0.0f && report.perturbed_tail == 0.0f);
  IS(sse_sam_set_tail(bench.network, COUNTS, CLASSES, UINT32_MAX), OK);
  IS(sse_sam_step(bench.network, BATCH, &SSE_SAM, &report), OK);
  HOLDS(report.head == 0.0f && report.tail > 0.0f && report.perturbed_head == 0.0f);
  end(bench);
}

int main(void) {
  every_memory_computes_the_same_up_to_rounding();
  less_memory_is_less_memory();
  options_are_checked();
  lean_steps_refuse_nesterov_and_survive_what_is_not_finite();
  frozen_layers_are_lent_first_and_checked();
  fine_tuning_changes_the_last_layer_as_gradient_descent_on_it_alone();
  a_pass_uses_rows_up_where_it_overwrites_them();
  a_residual_network_trains_its_last_layer_in_pieces();
  samples_are_lent_first_and_checked();
  pieces_are_checked_when_they_come();
  samples_are_bytes_moved_and_mirrored();
  perceptrons_refuse_what_they_cannot();
  perceptrons_have_the_bits_of_networks_of_any_kind();
  tails_are_checked();
  return failures == 0 ? 0 : 1;
}
