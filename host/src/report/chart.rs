//! Charts as SVG: lines over two labelled axes, legible on light and dark ground.

use std::fmt::Write as _;

/// Size of the picture, and of what lies around the axes: left, right, top, bottom.
const SIZE: [f64; 2] = [720.0, 420.0];
const MARGIN: [f64; 4] = [76.0, 16.0, 62.0, 56.0];

/// Colours of the lines on light and dark ground: told apart with any colour vision (Okabe and Ito 2008).
const COLOURS: [[&str; 2]; 6] = [
    ["#0072b2", "#56b4e9"],
    ["#d55e00", "#e69f00"],
    ["#007a59", "#2dc59a"],
    ["#b0568b", "#e29ac4"],
    ["#666666", "#aaaaaa"],
    ["#8a7a00", "#f0e442"],
];

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
}

/// A named line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points from left to right; what is not finite, or not above 0 on a logarithmic axis, interrupts it.
    pub points: Vec<[f64; 2]>,
    /// Whether each point is marked.
    pub dots: bool,
}

impl Axis {
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
            let decades = low.log10().ceil() as i32..=high.log10().floor() as i32;
            return decades.map(|decade| (10_f64.powi(decade), format!("1e{decade}"))).collect();
        }
        let step = round_step((high - low) / 6.0);
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
    /// The picture.
    pub fn svg(&self) -> String {
        let [width, height] = SIZE;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<title>{}</title>\n{}\
             <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n\
             <text x=\"{}\" y=\"22\" font-size=\"16\">{}</text>\n\
             <text x=\"{}\" y=\"40\" class=\"soft\" font-size=\"11\">{}</text>\n",
            escaped(&self.title),
            style(),
            MARGIN[0],
            escaped(&self.title),
            MARGIN[0],
            escaped(&self.note),
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
        let ([width, height], [left, right, top, bottom]) = (SIZE, MARGIN);
        let across = left + self.x.share(x) * (width - left - right);
        [across, height - bottom - self.y.share(y) * (height - top - bottom)]
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
            let (x, y) = (x + 5.0, bottom - 8.0);
            let _ = writeln!(
                svg,
                "<text class=\"soft\" x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"11\">{}</text>",
                escaped(text)
            );
        }
    }

    fn draw(&self, svg: &mut String, number: usize, line: &Line) {
        let is_shown = |[x, y]: [f64; 2]| {
            let fits = |axis: &Axis, value: f64| value.is_finite() && (value > 0.0 || !axis.logarithmic);
            fits(&self.x, x) && fits(&self.y, y)
        };
        let (mut path, mut pen, mut dots) = (String::new(), 'M', String::new());
        for &point in &line.points {
            if !is_shown(point) {
                pen = 'M';
                continue;
            }
            let [x, y] = self.place(point);
            let y = y.min(SIZE[1] - MARGIN[3]);
            let _ = write!(path, "{pen}{x:.1} {y:.1}");
            pen = 'L';
            if line.dots {
                let _ =
                    writeln!(dots, "<circle class=\"fill{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>", colour(number));
            }
        }
        let _ = writeln!(svg, "<path class=\"line{}\" d=\"{path}\"/>", colour(number));
        svg.push_str(&dots);
    }

    fn legend(&self, svg: &mut String) {
        let mut x = MARGIN[0];
        for (number, line) in self.lines.iter().enumerate() {
            let _ = writeln!(svg, "<path class=\"line{}\" d=\"M{x:.1} 52h18\"/>", colour(number));
            let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"56\">{}</text>", x + 24.0, escaped(&line.name));
            x += 42.0 + 7.5 * line.name.chars().count() as f64;
        }
    }
}

fn colour(number: usize) -> usize {
    number % COLOURS.len()
}

/// Colours by the ground that the viewer asks for.
fn style() -> String {
    let ground = |dark: usize| {
        let [paper, ink, soft, grid] =
            [["#ffffff", "#1a1a1a", "#5c5c5c", "#e3e3e3"], ["#14171a", "#e8e8e8", "#a8a8a8", "#33383d"]][dark];
        let lines = COLOURS.iter().enumerate().map(|(number, colours)| {
            let colour = colours[dark];
            format!(".line{number}{{fill:none;stroke:{colour};stroke-width:2}}.fill{number}{{fill:{colour}}}")
        });
        format!(
            ".paper{{fill:{paper}}}text{{fill:{ink}}}.soft{{fill:{soft}}}.grid{{stroke:{grid}}}\
             .axis{{fill:none;stroke:{ink}}}.mark{{stroke:{soft};stroke-dasharray:4 4}}{}",
            lines.collect::<String>()
        )
    };
    format!("<style>{}@media(prefers-color-scheme:dark){{{}}}</style>\n", ground(0), ground(1))
}

/// Text as XML takes it.
fn escaped(text: &str) -> String {
    crate::shown::shown(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        Chart {
            title: "a <b> & c".into(),
            note: "how".into(),
            x: Axis { label: "epoch".into(), ends: [0.0, 20.0], logarithmic: false },
            y: Axis { label: "density".into(), ends: [1e-3, 10.0], logarithmic: true },
            lines: vec![
                Line { name: "head".into(), points: vec![[0.0, 1e-3], [10.0, 10.0], [20.0, 0.1]], dots: true },
                Line {
                    name: "tail".into(),
                    points: vec![[0.0, 1.0], [5.0, 0.0], [10.0, 1.0], [20.0, 1.0]],
                    dots: false,
                },
            ],
            marks: vec![(10.0, "stage 2".into())],
        }
    }

    #[test]
    fn points_lie_where_their_numbers_say() {
        let svg = chart().svg();
        // The axes go from 76 to 704 and from 364 up to 62; 0.1 is half of four decades.
        assert!(svg.contains("<path class=\"line0\" d=\"M76.0 364.0L390.0 62.0L704.0 213.0\"/>"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("<path class=\"mark\" d=\"M390.0 62.0V364.0\"/>"), "{svg}");
    }

    #[test]
    fn what_a_logarithm_does_not_take_interrupts_a_line() {
        let svg = chart().svg();
        assert!(svg.contains("<path class=\"line1\" d=\"M76.0 137.5M390.0 137.5L704.0 137.5\"/>"), "{svg}");
    }

    #[test]
    fn axes_are_labelled_with_round_numbers() {
        let svg = chart().svg();
        for text in ["epoch", "density", ">1e-3<", ">1e1<", ">0<", ">5<", ">20<", ">head<", "stage 2"] {
            assert!(svg.contains(text), "{text}");
        }
        let axis = Axis { label: String::new(), ends: [-0.07, 0.03], logarithmic: false };
        assert_eq!(
            axis.ticks().iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            ["-0.06", "-0.04", "-0.02", "0.00", "0.02"]
        );
        let point = Axis { label: String::new(), ends: [3.0, 3.0], logarithmic: false };
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
}
