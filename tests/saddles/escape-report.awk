# The table of lines as escape-lines.awk writes them, over seeds: median, least and most steps from w + u, and means and
# standard deviations of the shares; then how often SSE-SAM takes fewer steps than another method, and how often steps from
# w - u are others than from w + u.

BEGIN {
  FS = "\t"
  methods = split("sgd sam imbsam sse-sam", method, " ")
  groups = split("head tail", group, " ")
  never = 1e9
}

NF == 9 {
  if (!($2 in seed)) { seed[$2] = 1; seed_at[++seeds] = $2 }
  run = $3 SUBSEP $5 SUBSEP $2
  known[run] = 1
  steps[run] = $6 == "null" ? never : $6 + 0
  along[run] = $8; growth[run] = $9
  trials++
  if ($6 != $7) parted++
}

# Collects a column of a group's method into values[1..count], in order of size.
function collect(column, g, m,   at, k, run, value) {
  count = 0
  for (at = 1; at <= seeds; at++) {
    run = g SUBSEP m SUBSEP seed_at[at]
    if (!(run in known) || column[run] == "null") continue
    value = column[run] + 0
    for (k = ++count; k > 1 && values[k - 1] > value; k--) values[k] = values[k - 1]
    values[k] = value
  }
}

function shown(steps) { return steps >= never ? "none" : sprintf("%.0f", steps) }

function median(   middle) {
  middle = int((count + 1) / 2)
  return shown(count % 2 ? values[middle] : (values[middle] + values[middle + 1]) / 2)
}

function spread(   at, mean, squares) {
  for (at = 1; at <= count; at++) mean += values[at] / count
  for (at = 1; at <= count; at++) squares += (values[at] - mean) ^ 2
  return sprintf("%.2f +- %.2f", mean, count > 1 ? sqrt(squares / (count - 1)) : 0)
}

function cell(column, g, m) {
  collect(column, g, m)
  # Plain descent's are its own measure.
  return m == "sgd" && values[1] == 1 && values[count] == 1 ? "1" : spread()
}

END {
  print "| group | method | steps, median | steps | \\|G.u\\|/\\|g.u\\| | \\|G\\|/\\|g\\| |"
  print "|---|---|---|---|---|---|"
  for (i = 1; i <= groups; i++) for (k = 1; k <= methods; k++) {
    collect(steps, group[i], method[k])
    if (!count) continue
    text = median() " | " shown(values[1]) " to " shown(values[count])
    print "| " group[i] " | " method[k] " | " text " | " cell(along, group[i], method[k]) " | " \
      cell(growth, group[i], method[k]) " |"
  }
  print ""
  for (i = 1; i <= groups; i++) for (k = 1; k < methods; k++) {
    fewer = both = 0
    for (at = 1; at <= seeds; at++) {
      own = group[i] SUBSEP "sse-sam" SUBSEP seed_at[at]
      other = group[i] SUBSEP method[k] SUBSEP seed_at[at]
      if ((own in known) && (other in known)) { both++; if (steps[own] < steps[other]) fewer++ }
    }
    print group[i] ": sse-sam takes fewer steps than " method[k] " for " fewer " of " both " seeds"
  }
  print "steps from the other side of u are others in " parted + 0 " of " trials " trials"
}
