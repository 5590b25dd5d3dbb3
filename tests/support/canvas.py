"""What a page draws on a canvas, for tests in a browser."""

from __future__ import annotations


def drawn_pixels(page, canvas):
    """How many pixels of a canvas, or of several, are not empty."""
    script = """all => all.reduce((n, canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 3; i < data.length; i += 4) n += data[i] > 0;
      return n;
    }, 0)"""
    return page.locator(canvas).evaluate_all(script)


def texts_of(page, canvas):
    """What a canvas writes from now on: text, left and right edge, and height."""
    return page.locator(canvas).evaluate(
        """async canvas => {
          const context = canvas.getContext("2d"), write = context.fillText, texts = [];
          context.fillText = function (text, x, y, ...rest) {
            const size = context.measureText(text).width;
            const left = x - { left: 0, right: size, center: size / 2 }[context.textAlign];
            texts.push({ text, left, right: left + size, y });
            return write.call(context, text, x, y, ...rest);
          };
          while (!texts.length) await new Promise(requestAnimationFrame);
          context.fillText = write;
          return texts;
        }"""
    )
