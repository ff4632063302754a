/* Every function of sse_sam.h, used well and badly; options.c has options and perceptrons. Prints what is wrong and where;
 * ends with 1 then. */
#include "bench.h"

static void every_status_has_a_message(void) {
  for (int32_t status = SSE_SAM_STATUS_OK; status <= SSE_SAM_STATUS_OPTIONS; status += 1)
    HOLDS(strlen(sse_sam_message(status)) > 3 && strcmp(sse_sam_message(status), sse_sam_message(-1)) != 0);
  HOLDS(strcmp(sse_sam_message(SSE_SAM_STATUS_OPTIONS + 1), sse_sam_message(INT32_MIN)) == 0);
}

static void constructors_refuse_bad_memory_and_bad_sizes(void) {
  size_t bytes = sse_sam_handle_bytes();
  HOLDS(bytes <= SSE_SAM_HANDLE_WORDS * sizeof(size_t));
  char *room = memory(bytes + 1);
  sse_sam_network *network = (sse_sam_network *)room, *odd = (sse_sam_network *)(room + 1);
  IS(sse_sam_mlp(NULL, bytes, IMAGE, LAYER_SIZES, 3), NULL);
  IS(sse_sam_mlp(odd, bytes, IMAGE, LAYER_SIZES, 3), MISALIGNED);
  IS(sse_sam_mlp(network, bytes - 1, IMAGE, LAYER_SIZES, 3), SHORT_HANDLE);
  IS(sse_sam_mlp(network, SIZE_MAX, IMAGE, LAYER_SIZES, 3), LENGTH);
  IS(sse_sam_mlp(network, bytes, IMAGE, NULL, 3), NULL);
  IS(sse_sam_mlp(network, bytes, IMAGE, (const uint32_t *)((const char *)LAYER_SIZES + 1), 2), MISALIGNED);
  IS(sse_sam_mlp(network, bytes, IMAGE, (const uint32_t *)network, 3), OVERLAP);
  IS(sse_sam_mlp(network, bytes, IMAGE, LAYER_SIZES, SIZE_MAX / 2), LENGTH);
  IS(sse_sam_mlp(network, bytes, IMAGE, LAYER_SIZES, 0), MODEL);
  IS(sse_sam_mlp(network, bytes, IMAGE, LAYER_SIZES, 1), MODEL);
  static const uint32_t zero[3] = {PIXELS, 0, CLASSES}, huge[3] = {PIXELS, 1u << 24, CLASSES};
  IS(sse_sam_mlp(network, bytes, IMAGE, zero, 3), MODEL);
  IS(sse_sam_mlp(network, bytes, IMAGE, huge, 3), MODEL);
  sse_sam_image other = {SIDE, SIDE, 3}, empty = {SIDE, 0, 1};
  IS(sse_sam_mlp(network, bytes, other, LAYER_SIZES, 3), LENGTH);
  IS(sse_sam_mlp(network, bytes, empty, LAYER_SIZES, 3), MODEL);
  uint32_t deep[14];
  for (int layer = 0; layer < 14; layer += 1)
    deep[layer] = PIXELS;
  IS(sse_sam_mlp(network, bytes, IMAGE, deep, 14), LAYERS);
  IS(sse_sam_mlp(network, bytes, IMAGE, deep, 13), OK);
  IS(sse_sam_resnet(NULL, bytes, IMAGE, 8, 4, CLASSES), NULL);
  IS(sse_sam_resnet(odd, bytes, IMAGE, 8, 4, CLASSES), MISALIGNED);
  IS(sse_sam_resnet(network, bytes - 1, IMAGE, 8, 4, CLASSES), SHORT_HANDLE);
  IS(sse_sam_resnet(network, bytes, IMAGE, 9, 4, CLASSES), MODEL);
  IS(sse_sam_resnet(network, bytes, IMAGE, 8, 0, CLASSES), MODEL);
  IS(sse_sam_resnet(network, bytes, IMAGE, 8, 4, 0), MODEL);
  IS(sse_sam_resnet(network, bytes, empty, 8, 4, CLASSES), MODEL);
  IS(sse_sam_resnet(network, bytes, IMAGE, 20, 4, CLASSES), LAYERS);
  IS(sse_sam_resnet(network, bytes, IMAGE, 34, 4, CLASSES), LAYERS);
  sse_sam_sizes sizes;
  IS(sse_sam_plan(network, BATCH, &SGD, NULL, &sizes), NO_HANDLE);
  IS(sse_sam_resnet(network, bytes, IMAGE, 8, (1u << 24) - 1, CLASSES), OK);
  IS(sse_sam_plan(network, BATCH, &SGD, NULL, &sizes), TOO_LARGE);
  free(room);
}

/* Every function that takes a handle, with one and otherwise good arguments. */
static void all_functions(sse_sam_network *network, sse_sam_status plan, sse_sam_status lend, sse_sam_status others) {
  bench own = planned();
  float *arena = memory(own.sizes.floats * sizeof(float)), *weights = memory(WEIGHTS * sizeof(float));
  uint8_t pixels[PIXELS] = {0};
  float features[PIXELS] = {0}, table[2] = {0.0f, 1.0f};
  uint32_t classes[1];
  memset(weights, 0, WEIGHTS * sizeof(float));
  check(__LINE__, "lend", sse_sam_lend(network, arena, own.sizes.floats), lend);
  check(__LINE__, "set_loss", sse_sam_set_loss(network, COUNTS, CLASSES, 0, 0.0, 0.0), others);
  check(__LINE__, "set_normalization", sse_sam_set_normalization(network, table, 2), others);
  check(__LINE__, "initialize", sse_sam_initialize(network, 0, NULL, NULL), others);
  check(__LINE__, "load", sse_sam_load(network, weights, WEIGHTS), others);
  check(__LINE__, "save", sse_sam_save(network, weights, WEIGHTS), others);
  check(__LINE__, "put_bytes", sse_sam_put_bytes(network, 0, pixels, PIXELS, 0), others);
  check(__LINE__, "put_floats", sse_sam_put_floats(network, 0, features, PIXELS, 0), others);
  check(__LINE__, "step", sse_sam_step(network, 1, &SGD, NULL), others);
  check(__LINE__, "predict", sse_sam_predict(network, 1, classes, NULL, 0), others);
  check(__LINE__, "plan", sse_sam_plan(network, BATCH, &SSE_SAM, NULL, &own.sizes), plan);
  free(arena);
  free(weights);
  end(own);
}

static void what_is_no_handle_is_refused_by_every_function(void) {
  size_t bytes = sse_sam_handle_bytes();
  char *room = memory(bytes + 2);
  all_functions(NULL, SSE_SAM_STATUS_NULL, SSE_SAM_STATUS_NULL, SSE_SAM_STATUS_NULL);
  all_functions((sse_sam_network *)room, SSE_SAM_STATUS_NO_HANDLE, SSE_SAM_STATUS_NO_HANDLE, SSE_SAM_STATUS_NO_HANDLE);
  all_functions((sse_sam_network *)(room + 2), SSE_SAM_STATUS_MISALIGNED, SSE_SAM_STATUS_MISALIGNED,
                SSE_SAM_STATUS_MISALIGNED);
  free(room);
}

static void a_plan_and_an_arena_come_first(void) {
  bench bench = made();
  all_functions(bench.network, SSE_SAM_STATUS_OK, SSE_SAM_STATUS_ORDER, SSE_SAM_STATUS_ORDER);
  all_functions(bench.network, SSE_SAM_STATUS_OK, SSE_SAM_STATUS_OK, SSE_SAM_STATUS_OK);
  /* The second plan took the arena back. */
  uint32_t classes[1];
  IS(sse_sam_predict(bench.network, 1, classes, NULL, 0), ORDER);
  end(bench);
}

static void plans_refuse_bad_numbers(void) {
  bench bench = made();
  sse_sam_sizes sizes;
  sse_sam_update update = SSE_SAM;
  IS(sse_sam_plan(bench.network, 0, &SSE_SAM, NULL, &sizes), BATCH);
  IS(sse_sam_plan(bench.network, SIZE_MAX, &SSE_SAM, NULL, &sizes), TOO_LARGE);
  IS(sse_sam_plan(bench.network, SIZE_MAX / 64, &SSE_SAM, NULL, &sizes), TOO_LARGE);
  IS(sse_sam_plan(bench.network, BATCH, NULL, NULL, &sizes), NULL);
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, NULL, NULL), NULL);
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, NULL, (sse_sam_sizes *)bench.network), OVERLAP);
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, NULL, (sse_sam_sizes *)((char *)&sizes + 4)), MISALIGNED);
  for (uint32_t groups = 0; groups < 4; groups += 3) {
    update.groups = groups;
    IS(sse_sam_plan(bench.network, BATCH, &update, NULL, &sizes), RANGE);
  }
  update = SSE_SAM;
  update.radius = -1.0f;
  IS(sse_sam_plan(bench.network, BATCH, &update, NULL, &sizes), RANGE);
  update.radius = NAN;
  IS(sse_sam_plan(bench.network, BATCH, &update, NULL, &sizes), RANGE);
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, NULL, &bench.sizes), OK);
  HOLDS(bench.sizes.weights == WEIGHTS && bench.sizes.parameters == WEIGHTS && bench.sizes.classes == CLASSES);
  IS(sse_sam_plan(bench.network, BATCH, &SGD, NULL, &sizes), OK);
  HOLDS(sizes.floats < bench.sizes.floats - 2 * WEIGHTS);
  end(bench);
}

static void arenas_are_checked(void) {
  bench bench = planned();
  size_t floats = bench.sizes.floats;
  bench.arena = memory(floats * sizeof(float));
  IS(sse_sam_lend(bench.network, NULL, floats), NULL);
  IS(sse_sam_lend(bench.network, (float *)((char *)bench.arena + 1), floats), MISALIGNED);
  IS(sse_sam_lend(bench.network, bench.arena, floats - 1), SHORT_ARENA);
  IS(sse_sam_lend(bench.network, bench.arena, SIZE_MAX / 4), LENGTH);
  IS(sse_sam_lend(bench.network, (float *)bench.network, floats), OVERLAP);
  uint32_t classes[1];
  IS(sse_sam_predict(bench.network, 1, classes, NULL, 0), ORDER);
  IS(sse_sam_lend(bench.network, bench.arena, floats), OK);
  IS(sse_sam_predict(bench.network, 1, classes, NULL, 0), OK);
  end(bench);
}

static void tables_are_checked(void) {
  bench bench = ready();
  sse_sam_network *network = bench.network;
  IS(sse_sam_set_loss(network, NULL, CLASSES, 0, 0.0, 0.0), NULL);
  IS(sse_sam_set_loss(network, COUNTS, CLASSES - 1, 0, 0.0, 0.0), LENGTH);
  IS(sse_sam_set_loss(network, (const uint32_t *)bench.arena, CLASSES, 0, 0.0, 0.0), OVERLAP);
  IS(sse_sam_set_loss(network, COUNTS, CLASSES, 6, 0.0, 0.0), RANGE);
  IS(sse_sam_set_loss(network, COUNTS, CLASSES, SSE_SAM_LOSS_LA, NAN, 0.0), RANGE);
  IS(sse_sam_set_loss(network, COUNTS, CLASSES, SSE_SAM_LOSS_LDAM, 0.5, -1.0), RANGE);
  for (uint32_t loss = SSE_SAM_LOSS_CE; loss <= SSE_SAM_LOSS_FOCAL; loss += 1)
    IS(sse_sam_set_loss(network, COUNTS, CLASSES, loss, 0.5, 1.0), OK);
  float table[2] = {0.0f, 1.0f};
  IS(sse_sam_set_normalization(network, table, 1), LENGTH);
  IS(sse_sam_set_normalization(network, NULL, 2), NULL);
  IS(sse_sam_set_normalization(network, bench.arena, 2), OVERLAP);
  end(bench);
}

static void weights_are_checked_and_come_back(void) {
  bench first = ready(), second = ready();
  float *weights = memory(WEIGHTS * sizeof(float)), *again = memory(WEIGHTS * sizeof(float));
  put_batch(first.network, 0);
  IS(sse_sam_step(first.network, BATCH, &SSE_SAM, NULL), OK);
  saved(&first, weights);
  saved(&second, again);
  HOLDS(memcmp(weights, again, WEIGHTS * sizeof(float)) != 0);
  IS(sse_sam_load(second.network, weights, WEIGHTS), OK);
  saved(&second, again);
  HOLDS(memcmp(weights, again, WEIGHTS * sizeof(float)) == 0);
  IS(sse_sam_load(second.network, weights, WEIGHTS - 1), LENGTH);
  IS(sse_sam_load(second.network, NULL, WEIGHTS), NULL);
  IS(sse_sam_load(second.network, second.arena, WEIGHTS), OVERLAP);
  weights[WEIGHTS - 1] = INFINITY;
  weights[0] = 77.0f;
  IS(sse_sam_load(second.network, weights, WEIGHTS), RANGE);
  saved(&second, weights);
  HOLDS(memcmp(weights, again, WEIGHTS * sizeof(float)) == 0);
  IS(sse_sam_save(second.network, weights, WEIGHTS - 1), LENGTH);
  IS(sse_sam_save(second.network, NULL, WEIGHTS), NULL);
  IS(sse_sam_save(second.network, second.arena, WEIGHTS), OVERLAP);
  IS(sse_sam_save(second.network, (float *)second.network, WEIGHTS), OVERLAP);
  free(weights);
  free(again);
  end(first);
  end(second);
}

static uint32_t count(void *context, uint32_t layer) { return (*(uint32_t *)context += 0x9E3779B9u) ^ layer; }

static void a_seed_decides_and_so_does_a_stream(void) {
  bench bench = ready();
  float *first = memory(WEIGHTS * sizeof(float)), *second = memory(WEIGHTS * sizeof(float));
  saved(&bench, first);
  IS(sse_sam_initialize(bench.network, 8, NULL, NULL), OK);
  saved(&bench, second);
  HOLDS(memcmp(first, second, WEIGHTS * sizeof(float)) != 0);
  IS(sse_sam_initialize(bench.network, 7, NULL, NULL), OK);
  saved(&bench, second);
  HOLDS(memcmp(first, second, WEIGHTS * sizeof(float)) == 0);
  uint32_t context = 0;
  IS(sse_sam_initialize(bench.network, 7, count, &context), OK);
  HOLDS(context == (uint32_t)(WEIGHTS * 0x9E3779B9u));
  saved(&bench, second);
  HOLDS(memcmp(first, second, WEIGHTS * sizeof(float)) != 0);
  free(first);
  free(second);
  end(bench);
}

static void rows_are_checked_and_floats_are_bytes_normalised(void) {
  bench bench = ready();
  sse_sam_network *network = bench.network;
  uint8_t pixels[PIXELS];
  float features[PIXELS], table[2] = {3.0f, 0.5f}, logits[2 * CLASSES];
  uint32_t classes[2];
  for (int pixel = 0; pixel < PIXELS; pixel += 1) {
    pixels[pixel] = (uint8_t)(pixel * 20);
    features[pixel] = ((float)pixels[pixel] - 3.0f) * 0.5f;
  }
  IS(sse_sam_set_normalization(network, table, 2), OK);
  IS(sse_sam_put_bytes(network, 0, pixels, PIXELS, 0), OK);
  IS(sse_sam_put_floats(network, 1, features, PIXELS, 3), OK);
  IS(sse_sam_predict(network, 2, classes, logits, 2 * CLASSES), OK);
  HOLDS(memcmp(logits, logits + CLASSES, CLASSES * sizeof(float)) == 0 && classes[0] == classes[1]);
  for (uint32_t class = 0; class < CLASSES; class += 1)
    HOLDS(logits[classes[0]] >= logits[class]);
  IS(sse_sam_put_bytes(network, BATCH, pixels, PIXELS, 0), BATCH);
  IS(sse_sam_put_bytes(network, SIZE_MAX, pixels, PIXELS, 0), BATCH);
  IS(sse_sam_put_bytes(network, 0, pixels, PIXELS, CLASSES), LABEL);
  IS(sse_sam_put_bytes(network, 0, pixels, PIXELS - 1, 0), LENGTH);
  IS(sse_sam_put_bytes(network, 0, NULL, PIXELS, 0), NULL);
  IS(sse_sam_put_bytes(network, 0, (const uint8_t *)bench.arena, PIXELS, 0), OVERLAP);
  IS(sse_sam_put_floats(network, BATCH, features, PIXELS, 0), BATCH);
  IS(sse_sam_put_floats(network, 0, features, PIXELS, UINT32_MAX), LABEL);
  IS(sse_sam_put_floats(network, 0, features, PIXELS - 1, 0), LENGTH);
  IS(sse_sam_put_floats(network, 0, NULL, PIXELS, 0), NULL);
  IS(sse_sam_put_floats(network, 0, (const float *)((const char *)features + 2), PIXELS - 1, 0), MISALIGNED);
  IS(sse_sam_put_floats(network, 0, bench.arena, PIXELS, 0), OVERLAP);
  end(bench);
}

static void predictions_are_checked(void) {
  bench bench = ready();
  sse_sam_network *network = bench.network;
  uint32_t classes[BATCH + 1];
  float logits[BATCH * CLASSES];
  IS(sse_sam_predict(network, 0, classes, NULL, 0), BATCH);
  IS(sse_sam_predict(network, BATCH + 1, classes, NULL, 0), BATCH);
  IS(sse_sam_predict(network, BATCH, NULL, NULL, 0), NULL);
  IS(sse_sam_predict(network, BATCH, classes, logits, BATCH * CLASSES - 1), LENGTH);
  IS(sse_sam_predict(network, 1, classes, (float *)classes, CLASSES), OVERLAP);
  IS(sse_sam_predict(network, 1, (uint32_t *)bench.arena, NULL, 0), OVERLAP);
  IS(sse_sam_predict(network, BATCH, classes, logits, BATCH * CLASSES), OK);
  end(bench);
}

static void steps_refuse_bad_numbers_and_change_nothing(void) {
  bench bench = ready();
  sse_sam_network *network = bench.network;
  float *before = memory(WEIGHTS * sizeof(float)), *after = memory(WEIGHTS * sizeof(float));
  put_batch(network, 0);
  saved(&bench, before);
  sse_sam_update update = SSE_SAM;
  sse_sam_report report;
  IS(sse_sam_step(network, 0, &SSE_SAM, &report), BATCH);
  IS(sse_sam_step(network, BATCH + 1, &SSE_SAM, &report), BATCH);
  IS(sse_sam_step(network, BATCH, NULL, &report), NULL);
  IS(sse_sam_step(network, BATCH, &SSE_SAM, (sse_sam_report *)bench.arena), OVERLAP);
  update.learning_rate = NAN;
  IS(sse_sam_step(network, BATCH, &update, &report), RANGE);
  update = SSE_SAM;
  update.nesterov = 2;
  IS(sse_sam_step(network, BATCH, &update, &report), RANGE);
  update = SSE_SAM;
  update.groups = 3;
  IS(sse_sam_step(network, BATCH, &update, &report), RANGE);
  float pixels[PIXELS];
  for (int pixel = 0; pixel < PIXELS; pixel += 1)
    pixels[pixel] = INFINITY;
  IS(sse_sam_put_floats(network, 0, pixels, PIXELS, 0), OK);
  IS(sse_sam_step(network, BATCH, &SSE_SAM, &report), NOT_FINITE);
  saved(&bench, after);
  HOLDS(memcmp(before, after, WEIGHTS * sizeof(float)) == 0);
  /* The next good batch goes on as if nothing had been. */
  put_batch(network, 0);
  IS(sse_sam_step(network, BATCH, &SSE_SAM, &report), OK);
  HOLDS(isfinite(report.squared_norm) && report.head > 0.0f && report.tail > 0.0f && report.perturbed_head > 0.0f);
  /* Planned for one group without a point: a point is too much, and so is a second group with one. */
  IS(sse_sam_plan(network, BATCH, &SGD, NULL, &bench.sizes), OK);
  IS(sse_sam_lend(network, bench.arena, bench.sizes.floats), OK);
  update = SGD;
  update.radius = 0.1f;
  IS(sse_sam_step(network, BATCH, &update, NULL), POINTS);
  update = SGD;
  update.groups = 2;
  update.tail_radius = 0.1f;
  IS(sse_sam_step(network, BATCH, &update, NULL), POINTS);
  /* Two groups without a point are one. */
  update.tail_radius = 0.0f;
  IS(sse_sam_step(network, BATCH, &update, NULL), OK);
  IS(sse_sam_step(network, BATCH, &SGD, NULL), OK);
  free(before);
  free(after);
  end(bench);
}

/* Steps of `update` until the classes are learnt; returns the last loss. */
static float trained(sse_sam_network *network, const sse_sam_update *update) {
  sse_sam_report report = {0};
  for (uint32_t step = 0; step < 200; step += 1) {
    put_batch(network, step);
    IS(sse_sam_step(network, BATCH, update, &report), OK);
  }
  uint32_t classes[BATCH];
  put_batch(network, 1000);
  IS(sse_sam_predict(network, BATCH, classes, NULL, 0), OK);
  for (uint32_t row = 0; row < BATCH; row += 1)
    HOLDS(classes[row] == (row + 1000) % CLASSES);
  return report.head + report.tail;
}

static void every_method_learns(void) {
  const sse_sam_update methods[5] = {{1, 0.0f, 0.0f, 0.1f, 0.9f, 1e-4f, 1},
                                     {1, 0.05f, 0.0f, 0.1f, 0.9f, 1e-4f, 0},
                                     {2, 0.0f, 0.05f, 0.1f, 0.9f, 1e-4f, 0},
                                     {2, 0.05f, 0.1f, 0.1f, 0.9f, 1e-4f, 0},
                                     {2, 0.0f, 0.0f, 0.1f, 0.9f, 1e-4f, 0}};
  for (int method = 0; method < 5; method += 1) {
    bench bench = ready();
    HOLDS(trained(bench.network, &methods[method]) < 0.2f);
    end(bench);
  }
}

static void a_residual_network_learns(void) {
  bench bench = {memory(sse_sam_handle_bytes()), NULL, {0, 0, 0, 0, 0}};
  IS(sse_sam_resnet(bench.network, sse_sam_handle_bytes(), IMAGE, 8, 3, CLASSES), OK);
  IS(sse_sam_plan(bench.network, BATCH, &SSE_SAM, NULL, &bench.sizes), OK);
  HOLDS(bench.sizes.weights > bench.sizes.parameters);
  bench.arena = memory(bench.sizes.floats * sizeof(float));
  IS(sse_sam_lend(bench.network, bench.arena, bench.sizes.floats), OK);
  IS(sse_sam_set_loss(bench.network, COUNTS, CLASSES, SSE_SAM_LOSS_VS, 0.05, 0.75), OK);
  IS(sse_sam_initialize(bench.network, 0, NULL, NULL), OK);
  float *weights = memory(bench.sizes.weights * sizeof(float));
  HOLDS(trained(bench.network, &SSE_SAM) < 0.2f);
  IS(sse_sam_save(bench.network, weights, bench.sizes.weights), OK);
  IS(sse_sam_load(bench.network, weights, bench.sizes.weights), OK);
  free(weights);
  end(bench);
}

int main(void) {
  every_status_has_a_message();
  constructors_refuse_bad_memory_and_bad_sizes();
  what_is_no_handle_is_refused_by_every_function();
  a_plan_and_an_arena_come_first();
  plans_refuse_bad_numbers();
  arenas_are_checked();
  tables_are_checked();
  weights_are_checked_and_come_back();
  a_seed_decides_and_so_does_a_stream();
  rows_are_checked_and_floats_are_bytes_normalised();
  predictions_are_checked();
  steps_refuse_bad_numbers_and_change_nothing();
  every_method_learns();
  a_residual_network_learns();
  return failures == 0 ? 0 : 1;
}
