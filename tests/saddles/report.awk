# The study's tables of lines of numbers as lines.awk writes them: means and standard deviations over seeds, differences
# of SSE-SAM from each other method over the same seeds, and the difference that is left at equal miss.
#
# At equal miss: log|lambda_min| = a(method) + b * log(miss) over all runs of a network, epoch and group, by least squares;
# the difference is a(sse-sam) - a(other), its error from the residuals with N - 5 degrees of freedom. Below 0: SSE-SAM's
# smallest eigenvalue is nearer to 0 than the other's would be at the same miss.

BEGIN {
  FS = "\t"
  methods = split("sgd sam imbsam sse-sam", method, " ")
  groups = split("head tail all class7 class8 class9", group, " ")
}

NF >= 21 {
  if (!($1 in model)) { model[$1] = ++models; model_at[models] = $1 }
  if (!(($1, $4) in epoch)) { epoch[$1, $4] = 1; epoch_at[$1, ++epochs[$1]] = $4 }
  if (!(($1, $3) in seed)) { seed[$1, $3] = 1; seed_at[$1, ++seeds[$1]] = $3 }
  run = $1 SUBSEP $4 SUBSEP $5 SUBSEP $2 SUBSEP $3
  known[run] = 1
  balanced[run] = $7; tail[run] = $8; loss[run] = $9; miss[run] = $10; gradient[run] = $11; highest[run] = $12
  lowest[run] = $14; ratio[run] = -$14 / $12; unfit[run] = -$14 / $10; mass[run] = $16; along[run] = $18
  drop[run] = $19; descent[run] = $21
}

# Collects a column of a method's runs into values[1..count].
function collect(column, of,   at, run) {
  count = 0
  for (at = 1; at <= seeds[m]; at++) {
    run = m SUBSEP e SUBSEP g SUBSEP of SUBSEP seed_at[m, at]
    if (run in known) values[++count] = column[run]
  }
}

function mean(   at, sum) {
  for (at = 1; at <= count; at++) sum += values[at]
  return count ? sum / count : 0
}

function deviation(   at, sum, middle) {
  if (count < 2) return 0
  middle = mean()
  for (at = 1; at <= count; at++) sum += (values[at] - middle) ^ 2
  return sqrt(sum / (count - 1))
}

function spread(column, of, form) {
  collect(column, of)
  return sprintf(form, mean()) " +- " sprintf(form, deviation())
}

function only(column, of, form) { collect(column, of); return sprintf(form, mean()) }

# Two-sided probability of a t as large or larger, by Simpson's rule on the density.
function probability(t, freedom,   steps, at, h, x, sum, constant, k) {
  if (freedom < 1) return 1
  t = t < 0 ? -t : t
  if (t > 60) return 0
  # gamma((f + 1) / 2) / gamma(f / 2), by recursion from f = 1 and 2.
  constant = freedom % 2 ? 0.5641895835477563 : 0.886226925452758
  for (k = freedom % 2 ? 1 : 2; k < freedom; k += 2) constant *= (k + 1) / k
  constant /= sqrt(freedom * 3.141592653589793)
  steps = 2000; h = t / steps; sum = 0
  for (at = 0; at <= steps; at++) {
    x = at * h
    sum += (at == 0 || at == steps ? 1 : at % 2 ? 4 : 2) * (1 + x * x / freedom) ^ (-(freedom + 1) / 2)
  }
  k = 1 - 2 * constant * sum * h / 3
  return k < 0 ? 0 : k
}

# Differences sse-sam - other over the seeds that both have.
function paired(column, other, form,   at, a, b, below, t) {
  count = below = 0
  for (at = 1; at <= seeds[m]; at++) {
    a = m SUBSEP e SUBSEP g SUBSEP "sse-sam" SUBSEP seed_at[m, at]
    b = m SUBSEP e SUBSEP g SUBSEP other SUBSEP seed_at[m, at]
    if ((a in known) && (b in known)) { values[++count] = column[a] - column[b]; if (values[count] > 0) below++ }
  }
  if (count < 2) return "too few seeds"
  t = deviation() > 0 ? mean() / (deviation() / sqrt(count)) : 0
  return sprintf(form, mean()) " | " below " of " count " | " sprintf("%.1f", t) " | " \
    sprintf("%.2g", probability(t, count - 1))
}

# Within methods: sums of squares and products of x = log miss and y = log|lambda_min|.
function regress(   k, at, run, x, y) {
  all = sxx = sxy = syy = 0
  for (k = 1; k <= methods; k++) {
    n[k] = xs[k] = ys[k] = 0
    for (at = 1; at <= seeds[m]; at++) {
      run = m SUBSEP e SUBSEP g SUBSEP method[k] SUBSEP seed_at[m, at]
      if ((run in known) && lowest[run] < 0 && miss[run] > 0) { n[k]++; xs[k] += log(miss[run]); ys[k] += log(-lowest[run]) }
    }
    if (n[k]) { xs[k] /= n[k]; ys[k] /= n[k] }
    all += n[k]
    for (at = 1; at <= seeds[m]; at++) {
      run = m SUBSEP e SUBSEP g SUBSEP method[k] SUBSEP seed_at[m, at]
      if (!((run in known) && lowest[run] < 0 && miss[run] > 0)) continue
      x = log(miss[run]) - xs[k]; y = log(-lowest[run]) - ys[k]
      sxx += x * x; sxy += x * y; syy += y * y
    }
  }
  freedom = all - methods - 1
  slope = sxx > 0 ? sxy / sxx : 0
  residual = freedom > 0 && syy > slope * sxy ? (syy - slope * sxy) / freedom : 0
}

# a(sse-sam) - a(other), its standard error, t and its probability.
function at_equal_miss(k,   x, difference, error, t) {
  if (freedom < 1 || !n[k] || !n[methods]) return "too few runs"
  x = xs[methods] - xs[k]
  difference = ys[methods] - ys[k] - slope * x
  error = sqrt(residual * (1 / n[k] + 1 / n[methods] + (sxx > 0 ? x * x / sxx : 0)))
  t = error > 0 ? difference / error : 0
  return sprintf("%+.3f +- %.3f | %.1f | %.2g", difference, error, t, probability(t, freedom))
}

END {
  for (i = 1; i <= models; i++) {
    m = model_at[i]
    for (j = 1; j <= epochs[m]; j++) {
      e = epoch_at[m, j]
      printf "\n%s, end of epoch %d (from 0), %d seeds: mean +- standard deviation\n\n", m, e, seeds[m]
      print "| group | method | loss | miss | \\|g\\| | lambda_max | lambda_min | \\|min\\|/max | \\|min\\|/miss | mass < -.01 max | \\|g.u\\|/\\|g\\| | drop u / -g | balanced, tail accuracy |"
      print "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
      for (q = 1; q <= groups; q++) for (k = 1; k <= methods; k++) {
        g = group[q]; w = method[k]
        collect(loss, w)
        if (!count) continue
        print "| " g " | " w " | " only(loss, w, "%.3g") " | " only(miss, w, "%.3g") " | " only(gradient, w, "%.3g") " | " \
          spread(highest, w, "%.3g") " | " spread(lowest, w, "%.3g") " | " only(ratio, w, "%.3f") " | " \
          only(unfit, w, "%.2f") " | " only(mass, w, "%.4f") " | " only(along, w, "%.3f") " | " \
          only(drop, w, "%.2g") " / " only(descent, w, "%.2g") " | " only(balanced, w, "%.1f") ", " only(tail, w, "%.1f") " |"
      }
      printf "\n%s, end of epoch %d: SSE-SAM minus another method\n\n", m, e
      print "| group | other | lambda_min | nearer to 0 | t | p | log\\|lambda_min\\| at equal miss | t | p | slope in log miss |"
      print "|---|---|---|---|---|---|---|---|---|---|"
      for (q = 1; q <= groups; q++) {
        g = group[q]
        regress()
        for (k = 1; k < methods; k++) if (n[k]) {
          print "| " g " | " method[k] " | " paired(lowest, method[k], "%+.3g") " | " at_equal_miss(k) " | " \
            sprintf("%.2f", slope) " |"
        }
      }
    }
  }
}
