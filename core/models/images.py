"""How models see: an image of any size becomes patches of a tower's passes, and tokens of the prompt.

Each rule is a family's own image processor (transformers 5.17, checked against its classes); tokens count what the
processor puts into the prompt for one image, with its own marks around tiles and rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, inf, prod, sqrt
from typing import Literal, Protocol

Side = tuple[int, int]             # height, width: pixels, or tiles


@dataclass(frozen=True, slots=True)
class Seen:
    """What one image comes to."""

    tokens: int                    # of the prompt
    crops: int                     # passes of the tower
    patches: int                   # of one pass, the largest of them


class Rule(Protocol):
    """An image processor."""

    def seen(self, height: int, width: int) -> Seen:
        """What an image of that many pixels comes to."""
        ...


@dataclass(frozen=True, slots=True)
class Merged:
    """Qwen-VL, GLM-V, MiniMax: resized to whole blocks of merged patches within a budget of pixels."""

    patch: int
    merge: int
    least_pixels: int
    most_pixels: int
    narrow: Literal["rounded", "enlarged", "a block"] = "rounded"      # what sides below a block become first

    def seen(self, height: int, width: int) -> Seen:
        """`smart_resize`: rounded to blocks, then scaled into the budget."""
        block = self.patch * self.merge
        if self.narrow == "enlarged" and min(height, width) < block:
            scale = max(block / height, block / width)
            height, width = int(height * scale), int(width * scale)
        least = block if self.narrow == "a block" else 0
        tall, wide = (max(least, round(side / block) * block) for side in (height, width))
        if tall * wide > self.most_pixels:
            by = sqrt(height * width / self.most_pixels)
            tall, wide = (max(block, floor(side / by / block) * block) for side in (height, width))
        elif tall * wide < self.least_pixels:
            by = sqrt(self.least_pixels / (height * width))
            tall, wide = (ceil(side * by / block) * block for side in (height, width))
        tokens = tall * wide // block**2
        return Seen(tokens, 1, tokens * self.merge**2)


@dataclass(frozen=True, slots=True)
class Native:
    """Kimi's MoonViT: never enlarged, shrunk into a budget of patches, padded to whole blocks."""

    patch: int
    merge: int
    most_patches: int
    most_side: int                 # patches of one side

    def seen(self, height: int, width: int) -> Seen:
        """`navit_resize`."""
        patches = max(1.0, height // self.patch) * max(1.0, width // self.patch)
        edge, block = self.most_side * self.patch, self.patch * self.merge
        scale = min(1.0, sqrt(self.most_patches / patches), edge / height, edge / width)
        sides = (min(max(1, int(side * scale)), edge) for side in (height, width))
        tokens = prod(ceil(side / block) for side in sides)
        return Seen(tokens, 1, tokens * self.merge**2)


@dataclass(frozen=True, slots=True)
class Fixed:
    """LLaVA 1.5, PaliGemma, Gemma 3: every image is resized to one square."""

    tokens: int
    patches: int

    def seen(self, height: int, width: int) -> Seen:
        """The same for every image."""
        return Seen(self.tokens, 1, self.patches)


@dataclass(frozen=True, slots=True)
class Pooled:
    """Gemma 4: the largest size of the same shape that pools to a budget of tokens."""

    patch: int
    pool: int
    most_tokens: int

    def seen(self, height: int, width: int) -> Seen:
        """`get_aspect_ratio_preserving_size`."""
        block = self.patch * self.pool
        scale = sqrt(self.most_tokens * block**2 / (height * width))
        rows, columns = (floor(scale * side / block) for side in (height, width))
        if not rows:
            rows, columns = 1, min(max(1, width // height), self.most_tokens)
        elif not columns:
            rows, columns = min(max(1, height // width), self.most_tokens), 1
        return Seen(rows * columns, 1, rows * columns * self.pool**2)


@dataclass(frozen=True, slots=True)
class Rows:
    """Pixtral, Mistral Small 3.1: shrunk to a longest edge, a mark after every row."""

    patch: int
    merge: int
    most_edge: int                 # pixels

    def seen(self, height: int, width: int) -> Seen:
        """`get_resize_output_image_size`: a row of blocks and its mark, for every row."""
        ratio, block = max(height, width) / self.most_edge, self.patch * self.merge
        sides = (floor(side / ratio) if ratio > 1 else side for side in (height, width))
        rows, columns = (max(1, (side - 1) // block + 1) for side in sides)
        return Seen((columns + 1) * rows, 1, rows * columns * self.merge**2)


@dataclass(frozen=True, slots=True)
class Tiles:
    """InternVL, Command A Vision, Aya, LFM2-VL: the grid of tiles nearest in shape, and the whole image beside it."""

    side: int                      # pixels of a tile
    tile_tokens: int
    tile_marks: int                # tokens beside each tile
    image_marks: int               # tokens around the image
    least: int                     # tiles
    most: int
    patches: int                   # of a tile
    whole: Merged | None = None    # what a small image and the whole one beside the tiles are; None: one more tile

    def seen(self, height: int, width: int) -> Seen:
        """`get_optimal_tiled_canvas`; one tile alone has no second look."""
        if self.whole is not None and not self._is_large(self.whole, height, width):
            one = self.whole.seen(height, width)
            return Seen(one.tokens + self.image_marks, 1, one.patches)
        tall, wide = nearest_grid(height, width, self.side, self.least, self.most)
        count = tall * wide
        tiled = count * (self.tile_tokens + self.tile_marks)
        if self.whole is not None:
            one = self.whole.seen(height, width)
            return Seen(tiled + one.tokens + (count > 1) * self.tile_marks + self.image_marks, count + 1,
                        max(self.patches, one.patches))
        again = self.tile_tokens + self.tile_marks if count > 1 else 0
        return Seen(tiled + again + self.image_marks, count + (count > 1), self.patches)

    def _is_large(self, whole: Merged, height: int, width: int) -> bool:
        block = whole.patch * whole.merge
        tall, wide = (max(whole.patch, round(side / block) * block) for side in (height, width))
        return tall * wide > 2 * whole.most_pixels


@lru_cache(maxsize=4096)
def nearest_grid(height: int, width: int, side: int, least: int, most: int) -> Side:
    """Rows and columns of the grid nearest in shape; of equals the larger, while half of it is covered."""
    grids = sorted(((wide, tall) for wide in range(1, most + 1) for tall in range(1, most + 1)
                    if least <= wide * tall <= most), key=prod)
    best, off = (1, 1), inf
    for wide, tall in grids:
        difference = abs(width / height - wide / tall)
        if difference < off or (difference == off and width * height > 0.5 * side**2 * wide * tall):
            best, off = (tall, wide), difference
    return best


@dataclass(frozen=True, slots=True)
class Canvas:
    """LLaVA-NeXT and OneVision: the best of some canvases cut into tiles, without padding, and the whole image."""

    side: int                      # pixels of a tile
    patch: int
    canvases: tuple[Side, ...]
    most_tiles: int | None = None  # more than so many are interpolated down; None: never

    def seen(self, height: int, width: int) -> Seen:
        """`_get_number_of_features`: unpadded features, a mark a row, and the whole image's."""
        canvas = self._canvas(height, width)
        grid = self.side // self.patch
        tall, wide = (edge // self.side * grid for edge in canvas)
        if width / height > wide / tall:
            tall -= 2 * ((tall - int(round(height * (wide / width), 7))) // 2)
        else:
            wide -= 2 * ((wide - int(round(width * (tall / height), 7))) // 2)
        features, marks = tall * wide, tall
        if self.most_tiles is not None:
            ratio = sqrt(features / (self.most_tiles * grid**2))
            if ratio > 1.1:
                features, marks = int(tall // ratio) * int(wide // ratio), int(tall // ratio)
        tiles = prod(edge // self.side for edge in canvas)
        return Seen(features + marks + grid**2, tiles + 1, grid**2)

    def _canvas(self, height: int, width: int) -> Side:
        def fit(canvas: Side) -> tuple[int, int]:
            scale = min(canvas[1] / width, canvas[0] / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            return kept, kept - prod(canvas)
        return max(self.canvases, key=fit)


@dataclass(frozen=True, slots=True)
class Chunks:
    """Llama 4: the canvas of up to so many chunks that distorts least, with separators, and the whole image."""

    side: int
    chunk_tokens: int
    most: int
    patches: int

    def seen(self, height: int, width: int) -> Seen:
        """`get_best_fit`: the smallest enlargement, else the least shrinking; of equals the smallest canvas."""
        rows, columns = min(self._grids(), key=lambda grid: self._cost(grid, height, width))
        count = rows * columns
        tiled = count * self.chunk_tokens + rows * (columns - 1) + rows if count > 1 else 0
        return Seen(tiled + self.chunk_tokens + 3, count + (count > 1), self.patches)     # start, image, end

    def _grids(self) -> Iterator[Side]:
        return ((rows, n // rows) for n in range(self.most, 0, -1) for rows in range(1, n + 1) if n % rows == 0)

    def _cost(self, grid: Side, height: int, width: int) -> tuple[bool, float, int]:
        scale = min(grid[0] * self.side / height, grid[1] * self.side / width)
        return scale < 1, scale if scale >= 1 else -scale, prod(grid)


@dataclass(frozen=True, slots=True)
class Split:
    """Idefics3 and SmolVLM: enlarged to a longest edge, split into squares, and the whole image."""

    side: int                      # pixels of a square
    most_edge: int                 # pixels
    square_tokens: int
    patches: int

    def seen(self, height: int, width: int) -> Seen:
        """Each square has two marks, each row a line end, the whole image three."""
        if width >= height:
            sides = _even(int(self.most_edge / (width / height))), self.most_edge
        else:
            sides = self.most_edge, _even(int(self.most_edge * (width / height)))
        rows, columns = (ceil(side / self.side) for side in sides)
        rows, columns = (rows, columns) if rows * columns > 1 else (0, 0)
        tokens = self.square_tokens + 3 + rows * ((self.square_tokens + 2) * columns + 1)
        return Seen(tokens, rows * columns + 1, self.patches)


def _even(side: int) -> int:
    return max(1, side + side % 2)


@dataclass(frozen=True, slots=True)
class Crops:
    """Phi-3.5-vision: scaled to as many crops as fit the shape, padded to whole ones, and the whole image."""

    side: int                      # pixels of a crop
    most: int

    def seen(self, height: int, width: int) -> Seen:
        """`calc_num_image_tokens`: 144 tokens a crop and the whole image, a mark a row of twelve, one between."""
        ratio = max(height, width) / min(height, width)
        scale = 1
        while scale * ceil(scale / ratio) <= self.most:
            scale += 1
        wide = (scale - 1) * self.side
        tall = int(wide / ratio)
        long, short = wide // self.side, ceil(tall / self.side)
        rows = short if width >= height else long
        return Seen((long * short + 1) * 144 + 1 + (rows + 1) * 12, long * short + 1, (self.side // 14) ** 2)


@dataclass(frozen=True, slots=True)
class Eyes:
    """A model's tower with its rule."""

    rule: Rule
    params: int                    # of the tower and what joins it to the text
    width: int
    whole_layers: int              # whose attention sees the whole pass
    source: str
    largest: int = 2048            # pixels of each side of an image that stands for the largest

    def seen(self, width: int, height: int) -> Seen:
        """What an image of that many pixels comes to."""
        return self.rule.seen(height, width)

    def flops(self, width: int, height: int) -> float:
        """FLOPs of one image through the tower [FLOP]: its matrices, and attention where it sees the whole pass."""
        seen = self.seen(width, height)
        matrices = 2.0 * self.params * seen.patches
        attention = 4.0 * self.whole_layers * self.width * seen.patches**2
        return seen.crops * (matrices + attention)
