//! Charts as SVG: lines over two labelled axes, legible on light and dark ground.
//!
//! A chart that stands in a page has its numbers beside its lines, as `data-` attributes, so that a script can show them.

use std::fmt::Write as _;

/// Size of the picture, and of what lies around the axes: left, right, top, bottom; above the axes for each row of the legend.
const SIZE: [f64; 2] = [720.0, 420.0];
const MARGIN: [f64; 4] = [76.0, 16.0, 44.0, 56.0];
const ROW: f64 = 18.0;

/// Colours of the lines on light and dark ground: told apart with any colour vision (Okabe and Ito 2008).
const COLOURS: [[&str; 2]; 6] = [
    ["#0072b2", "#56b4e9"],
    ["#d55e00", "#e69f00"],
    ["#007a59", "#2dc59a"],
    ["#b0568b", "#e29ac4"],
    ["#666666", "#aaaaaa"],
    ["#8a7a00", "#f0e442"],
];

/// How many colours there are: a number so much larger has the same one, and dashes.
pub const HUES: usize = COLOURS.len();

/// Lines over two axes.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// How it was made, in small letters below the title.
    pub note: String,
    /// What lies to the right.
    pub x: Axis,
    /// What lies upwards.
    pub y: Axis,
    /// What is drawn.
    pub lines: Vec<Line>,
    /// Places on the x axis with a word each, drawn as a dashed line.
    pub marks: Vec<(f64, String)>,
}

/// An axis.
#[derive(Clone, Debug, Default)]
pub struct Axis {
    /// Its quantity.
    pub label: String,
    /// Its first and its last number, in this order; of a logarithmic axis both above 0.
    pub ends: [f64; 2],
    /// Whether equal lengths are equal factors.
    pub logarithmic: bool,
    /// Whether its numbers are whole ones.
    pub whole: bool,
}

/// A named line.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points from left to right; what is not finite, or not above 0 on a logarithmic axis, interrupts it.
    pub points: Vec<[f64; 2]>,
    /// Whether each point is marked.
    pub dots: bool,
    /// Which of the colours it has; that of its place where None.
    pub colour: Option<usize>,
    /// `[x, low, high]` from left to right: an area behind the line.
    pub band: Vec<[f64; 3]>,
}

impl Axis {
    /// Its ends, and whether it is logarithmic, for a script.
    fn data(&self) -> String {
        let [low, high] = self.ends.map(short);
        format!("{low} {high}{}", if self.logarithmic { " log" } else { "" })
    }

    /// Where a number lies between the ends, 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.log10() } else { value };
        let [low, high] = self.ends.map(scale);
        if high == low { 0.5 } else { (scale(value) - low) / (high - low) }
    }

    /// Numbers with a tick, and how each is written.
    fn ticks(&self) -> Vec<(f64, String)> {
        let [low, high] = self.ends;
        if self.logarithmic {
            let decades = || low.log10().floor() as i32..=high.log10().floor() as i32;
            // Few decades have steps between them; numbers that are short are written out.
            let steps: &[f64] = if high < 500.0 * low { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let is_short = (1e-3..1e6).contains(&low) && high < 1e6 && high / low < 1e5;
            let text = |number: f64| if is_short { short(number) } else { format!("{number:e}") };
            let numbers = decades().flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
            let within = numbers.filter(|number| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(number));
            let found: Vec<(f64, String)> = within.map(|number| (number, text(number))).collect();
            if found.len() > 1 {
                return found;
            }
        }
        let step = round_step((high - low) / 6.0).max(if self.whole { 1.0 } else { 0.0 });
        if step <= 0.0 || !step.is_finite() {
            return vec![(low, plain(low, 0))];
        }
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let numbers = (low / step).ceil() as i64..=(high / step).floor() as i64;
        numbers.map(|number| (number as f64 * step, plain(number as f64 * step, digits))).collect()
    }
}

/// The next of 1, 2 and 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

fn plain(value: f64, digits: usize) -> String {
    if digits > 4 { format!("{value:.0e}") } else { format!("{:.digits$}", value + 0.0) }
}

impl Chart {
    /// The picture by itself.
    pub fn svg(&self) -> String {
        self.drawn(&format!("{}<rect class=\"paper\" width=\"{}\" height=\"{}\"/>\n", style(), SIZE[0], SIZE[1]))
    }

    /// The picture in a page that has its [`style`].
    pub fn inline(&self) -> String {
        self.drawn("")
    }

    fn drawn(&self, ground: &str) -> String {
        let ([width, height], [left, ..]) = (SIZE, MARGIN);
        let (title, note) = (escaped(&self.title), escaped(&self.note));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             font-family=\"system-ui, sans-serif\" font-size=\"13\" data-x=\"{}\" data-y=\"{}\" data-box=\"{}\" data-label=\"{}\">\n\
             <title>{title}</title>\n{ground}\
             <text x=\"{left}\" y=\"22\" font-size=\"16\">{title}</text>\n\
             <text x=\"{left}\" y=\"40\" class=\"soft\" font-size=\"11\">{note}</text>\n",
            self.x.data(),
            self.y.data(),
            self.place_of_axes().map(|number| number.to_string()).join(" "),
            escaped(&self.x.label),
        );
        self.grid(&mut svg);
        self.draw_marks(&mut svg);
        for (number, line) in self.lines.iter().enumerate() {
            self.draw(&mut svg, number, line);
        }
        self.legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    /// Where a point of the axes lies in the picture.
    fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [left, right, top, bottom] = self.place_of_axes();
        [left + self.x.share(x) * (right - left), bottom - self.y.share(y) * (bottom - top)]
    }

    /// Where the axes end: left, right, top, bottom.
    fn place_of_axes(&self) -> [f64; 4] {
        let ([width, height], [left, right, top, bottom]) = (SIZE, MARGIN);
        let rows = self.keys().last().map_or(1.0, |&[_, y]| 1.0 + (y - top - 8.0) / ROW);
        [left, width - right, top + rows * ROW, height - bottom]
    }

    /// Where each name of the legend begins, in rows as wide as the axes.
    fn keys(&self) -> Vec<[f64; 2]> {
        let ([width, _], [left, right, top, _]) = (SIZE, MARGIN);
        let mut next = [left, top + 8.0];
        let place = |line: &Line| {
            let length = 42.0 + 7.5 * line.name.chars().count() as f64;
            if next[0] > left && next[0] + length > width - right {
                next = [left, next[1] + ROW];
            }
            let here = next;
            next[0] += length;
            here
        };
        self.lines.iter().map(place).collect()
    }

    fn grid(&self, svg: &mut String) {
        let [[left, bottom], [right, top]] =
            [[0, 0], [1, 1]].map(|[x, y]| self.place([self.x.ends[x], self.y.ends[y]]));
        for (value, text) in self.x.ticks() {
            let [x, _] = self.place([value, self.y.ends[0]]);
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>");
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>", bottom + 18.0);
        }
        for (value, text) in self.y.ticks() {
            let [_, y] = self.place([self.x.ends[0], value]);
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>");
            let (x, y) = (left - 8.0, y + 4.5);
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{text}</text>");
        }
        let (across, up) = (left.midpoint(right), top.midpoint(bottom));
        let _ = writeln!(svg, "<path class=\"axis\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\"/>");
        let label = escaped(&self.x.label);
        let _ = writeln!(svg, "<text x=\"{across:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", SIZE[1] - 14.0);
        let label = escaped(&self.y.label);
        let turn = format!("transform=\"translate(18 {up:.1}) rotate(-90)\"");
        let _ = writeln!(svg, "<text {turn} text-anchor=\"middle\">{label}</text>");
    }

    fn draw_marks(&self, svg: &mut String) {
        for (at, text) in &self.marks {
            let [x, bottom] = self.place([*at, self.y.ends[0]]);
            let [_, top] = self.place([*at, self.y.ends[1]]);
            let _ = writeln!(svg, "<path class=\"mark\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>");
            // What would leave the picture stands on the other side.
            let is_late = x + 5.0 + 6.0 * text.chars().count() as f64 > SIZE[0];
            let (x, anchor) = if is_late { (x - 5.0, " text-anchor=\"end\"") } else { (x + 5.0, "") };
            let y = bottom - 8.0;
            let _ = writeln!(
                svg,
                "<text class=\"soft\" x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"11\"{anchor}>{}</text>",
                escaped(text)
            );
        }
    }

    fn draw(&self, svg: &mut String, number: usize, line: &Line) {
        let is_shown = |[x, y]: [f64; 2]| {
            let fits = |axis: &Axis, value: f64| value.is_finite() && (value > 0.0 || !axis.logarithmic);
            fits(&self.x, x) && fits(&self.y, y)
        };
        let _ = writeln!(svg, "<g class=\"series\" data-name=\"{}\">", escaped(&line.name));
        let number = line.colour.unwrap_or(number);
        self.draw_band(svg, number, &line.band);
        let (mut path, mut pen, mut dots, mut numbers) = (String::new(), 'M', String::new(), Vec::new());
        for &point in &line.points {
            if !is_shown(point) {
                pen = 'M';
                continue;
            }
            numbers.push(format!("{} {}", short(point[0]), short(point[1])));
            let [x, y] = self.place(point);
            let y = y.min(SIZE[1] - MARGIN[3]);
            let _ = write!(path, "{pen}{x:.1} {y:.1}");
            pen = 'L';
            if line.dots {
                let _ =
                    writeln!(dots, "<circle class=\"fill{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>", colour(number));
            }
        }
        let (colour, dash, numbers) = (colour(number), dash(number), numbers.join(","));
        let _ = writeln!(svg, "<path class=\"line{colour}\" d=\"{path}\"{dash} data-p=\"{numbers}\"/>");
        svg.push_str(&dots);
        svg.push_str("</g>\n");
    }

    fn draw_band(&self, svg: &mut String, number: usize, band: &[[f64; 3]]) {
        if band.is_empty() {
            return;
        }
        let above = band.iter().map(|&[x, _, high]| [x, high]);
        let below = band.iter().rev().map(|&[x, low, _]| [x, low]);
        let corners = above.chain(below).map(|corner| self.place(corner)).map(|[x, y]| format!("{x:.1} {y:.1}"));
        let path = corners.collect::<Vec<String>>().join("L");
        let _ = writeln!(svg, "<path class=\"band fill{}\" d=\"M{path}Z\"/>", colour(number));
    }

    fn legend(&self, svg: &mut String) {
        for ((number, line), [x, y]) in self.lines.iter().enumerate().zip(self.keys()) {
            let number = line.colour.unwrap_or(number);
            let (colour, dash, name) = (colour(number), dash(number), escaped(&line.name));
            let _ = writeln!(svg, "<g class=\"key\"><path class=\"line{colour}\" d=\"M{x:.1} {y:.1}h18\"{dash}/>");
            let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{name}</text></g>", x + 24.0, y + 4.0);
        }
    }
}

fn colour(number: usize) -> usize {
    number % COLOURS.len()
}

/// Lines of one colour have other dashes.
fn dash(number: usize) -> String {
    match number / COLOURS.len() {
        0 => String::new(),
        turn => format!(" stroke-dasharray=\"{} 4\"", [8, 3, 14][(turn - 1) % 3]),
    }
}

/// A number with five significant digits at most, as short as it can be written.
fn short(value: f64) -> String {
    format!("{value:.4e}").parse::<f64>().unwrap_or(value).to_string()
}

/// Colours by the ground that the viewer asks for.
pub fn style() -> String {
    let ground = |dark: usize| {
        let [paper, ink, soft, grid] =
            [["#ffffff", "#1a1a1a", "#5c5c5c", "#e3e3e3"], ["#14171a", "#e8e8e8", "#a8a8a8", "#33383d"]][dark];
        let lines = COLOURS.iter().enumerate().map(|(number, colours)| {
            let colour = colours[dark];
            format!(".line{number}{{fill:none;stroke:{colour};stroke-width:2}}.fill{number}{{fill:{colour}}}")
        });
        format!(
            ".paper{{fill:{paper}}}text{{fill:{ink}}}.soft{{fill:{soft}}}.grid{{stroke:{grid}}}\
             .axis{{fill:none;stroke:{ink}}}.band{{opacity:.16}}.mark{{stroke:{soft};stroke-dasharray:4 4}}{}",
            lines.collect::<String>()
        )
    };
    format!("<style>{}@media(prefers-color-scheme:dark){{{}}}</style>\n", ground(0), ground(1))
}

/// Text as XML takes it.
fn escaped(text: &str) -> String {
    crate::shown::shown(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        Chart {
            title: "a <b> & c".into(),
            note: "how".into(),
            x: Axis { label: "epoch".into(), ends: [0.0, 20.0], whole: true, ..Axis::default() },
            y: Axis { label: "density".into(), ends: [1e-3, 10.0], logarithmic: true, ..Axis::default() },
            lines: vec![
                Line {
                    name: "head".into(),
                    points: vec![[0.0, 1e-3], [10.0, 10.0], [20.0, 0.1]],
                    dots: true,
                    ..Line::default()
                },
                Line {
                    name: "tail".into(),
                    points: vec![[0.0, 1.0], [5.0, 0.0], [10.0, 1.0], [20.0, 1.0]],
                    ..Line::default()
                },
            ],
            marks: vec![(10.0, "stage 2".into())],
        }
    }

    #[test]
    fn points_lie_where_their_numbers_say() {
        let svg = chart().svg();
        // The axes go from 76 to 704 and from 364 up to 62; 0.1 is half of four decades.
        assert!(
            svg.contains(
                "<path class=\"line0\" d=\"M76.0 364.0L390.0 62.0L704.0 213.0\" data-p=\"0 0.001,10 10,20 0.1\"/>"
            ),
            "{svg}"
        );
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("<path class=\"mark\" d=\"M390.0 62.0V364.0\"/>"), "{svg}");
    }

    #[test]
    fn what_a_logarithm_does_not_take_interrupts_a_line() {
        let svg = chart().svg();
        assert!(
            svg.contains("<path class=\"line1\" d=\"M76.0 137.5M390.0 137.5L704.0 137.5\" data-p=\"0 1,10 1,20 1\"/>"),
            "{svg}"
        );
    }

    #[test]
    fn axes_are_labelled_with_round_numbers() {
        let svg = chart().svg();
        for text in ["epoch", "density", ">0.001<", ">10<", ">0<", ">5<", ">20<", ">head<", "stage 2"] {
            assert!(svg.contains(text), "{text}");
        }
        let axis = Axis { label: String::new(), ends: [-0.07, 0.03], ..Axis::default() };
        assert_eq!(
            axis.ticks().iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            ["-0.06", "-0.04", "-0.02", "0.00", "0.02"]
        );
        let axis = |ends| Axis { label: String::new(), ends, logarithmic: true, ..Axis::default() };
        let ticks = |ends| axis(ends).ticks().into_iter().map(|(_, text)| text).collect::<Vec<String>>();
        assert_eq!(ticks([7.0, 376.0]), ["10", "20", "50", "100", "200"]);
        assert_eq!(ticks([1e-4, 1e2]), ["1e-4", "1e-3", "1e-2", "1e-1", "1e0", "1e1", "1e2"]);
        let point = Axis { label: String::new(), ends: [3.0, 3.0], ..Axis::default() };
        assert_eq!((point.share(3.0), point.ticks()), (0.5, vec![(3.0, "3".into())]));
    }

    #[test]
    fn the_picture_is_xml_and_knows_dark_ground() {
        let svg = chart().svg();
        assert!(svg.contains("<title>a &lt;b&gt; &amp; c</title>") && svg.contains("prefers-color-scheme:dark"));
        assert_eq!(svg.matches('<').count(), svg.matches('>').count());
        for tag in ["svg", "text", "style", "title"] {
            let open = svg.matches(&format!("<{tag} ")).count() + svg.matches(&format!("<{tag}>")).count();
            assert_eq!(open, svg.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn a_long_legend_has_rows_and_the_axes_begin_below_them() {
        let line = |number: usize| Line { name: format!("a method with a long name {number}"), ..Line::default() };
        let with = |count| Chart { lines: (0..count).map(line).collect(), ..chart() };
        assert_eq!(with(2).place_of_axes(), chart().place_of_axes());
        let many = with(7);
        assert_eq!(many.place_of_axes()[2], chart().place_of_axes()[2] + 3.0 * ROW);
        assert!(many.keys().iter().all(|&[x, y]| (76.0..700.0).contains(&x) && y < many.place_of_axes()[2]));
        // The seventh has the colour of the first, and dashes.
        assert!(
            many.svg()
                .contains("<g class=\"key\"><path class=\"line0\" d=\"M76.0 106.0h18\" stroke-dasharray=\"8 4\"/>")
        );
    }

    #[test]
    fn a_word_at_the_right_edge_stands_on_the_other_side_of_its_mark() {
        let with = |at: f64| Chart { marks: vec![(at, "stage 2 of sse-sam".into())], ..chart() }.svg();
        assert!(!with(5.0).contains("text-anchor=\"end\">stage 2"));
        assert!(with(19.0).contains("text-anchor=\"end\">stage 2"), "{}", with(19.0));
    }

    #[test]
    fn whole_numbers_have_whole_ticks_and_a_short_logarithmic_axis_has_several() {
        let texts = |axis: Axis| axis.ticks().into_iter().map(|(_, text)| text).collect::<Vec<String>>();
        assert_eq!(texts(Axis { ends: [0.0, 2.0], whole: true, ..Axis::default() }), ["0", "1", "2"]);
        assert!(texts(Axis { ends: [0.0, 2.0], ..Axis::default() }).len() > 3);
        assert!(texts(Axis { ends: [0.021, 0.047], logarithmic: true, ..Axis::default() }).len() > 1);
    }

    #[test]
    fn an_area_lies_behind_its_line() {
        let mut chart = chart();
        chart.lines[0].band = vec![[0.0, 1e-3, 0.1], [20.0, 0.1, 10.0]];
        let svg = chart.svg();
        let area =
            svg.find("<path class=\"band fill0\" d=\"M76.0 213.0L704.0 62.0L704.0 213.0L76.0 364.0Z\"/>").unwrap();
        assert!(area < svg.find("<path class=\"line0\" d=\"M76.0 364").unwrap());
    }
}
