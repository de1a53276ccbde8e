"""What the first bytes of an image file say, before anything is decoded."""

import io
import os
import struct
from contextlib import suppress
from functools import cache
from os import PathLike
from typing import NamedTuple

from PIL import Image, ImageFile

#: Pixels above which Pillow takes an image for an attack on the memory.
MAX_PIXELS = 178_956_970

_PNG = b'\x89PNG\r\n\x1a\n'
_JPEG = b'\xff\xd8\xff'
_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_ORIENTATION = 0x0112
# Start of frame, which has the size; the others of the range are tables.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class ImageHeader(NamedTuple):
    """What an image file holds.

    Args:
        format (str): Name of the format, as Pillow calls it.
        width (int): Width as stored, in pixels.
        height (int): Height as stored, in pixels.
        bits (int): Bits a channel.
        channels (int): Channels, alpha included.
        alpha (bool): Whether pixels can be transparent.
        orientation (int): EXIF orientation, 1 to 8; 1 is upright.
    """

    format: str
    width: int
    height: int
    bits: int
    channels: int
    alpha: bool
    orientation: int

    @property
    def turned_size(self) -> tuple[int, int]:
        """Width and height after the orientation is applied."""
        size = self.width, self.height
        return size[::-1] if self.orientation > 4 else size


def is_plain(content: bytes) -> bool:
    """Whether all decoders give the same 8 bits for an image.

    That is a JPEG, a BMP, or a PNG of 8 bits without transparency: nearly
    all images, for which nothing needs to be chosen.
    """
    if content.startswith(_PNG):
        bits, color = content[24:26] or (0, 0)
        return (
            bits <= 8
            and color in (0, 2, 3)
            and content.find(b'tRNS', 0, content.find(b'IDAT')) < 0
        )
    return content.startswith((_JPEG, b'BM'))


def plain_size(content: bytes) -> tuple[int, int]:
    """Width and height of a plain image as stored; zeros if not found."""
    if content.startswith(_PNG) and len(content) > 24:
        return struct.unpack('>II', content[16:24])
    if content.startswith(b'BM') and len(content) > 26:
        width, height = struct.unpack('<ii', content[18:26])
        return width, abs(height)
    place = 2
    while content.startswith(_JPEG) and place + 9 < len(content):
        marker = content[place + 1]
        if content[place] != 0xFF or marker == 0xFF:
            place += 1
        elif marker in _FRAMES:
            height, width = struct.unpack(
                '>HH', content[place + 5 : place + 9]
            )
            return width, height
        else:
            (length,) = struct.unpack('>H', content[place + 2 : place + 4])
            place += 2 + length
    return 0, 0


def read_header(source: str | PathLike | bytes) -> ImageHeader:
    """Read the header of an image.

    Args:
        source (str or PathLike or bytes): Path or content of the file.

    Returns:
        ImageHeader: What it holds.

    Raises:
        OSError: If there is no such file, or it is no image.
        PIL.Image.DecompressionBombError: If it is far too large.
    """
    if isinstance(source, bytes):
        head, file = source[:12], io.BytesIO(source)
    else:
        if os.path.exists(source) and not os.path.isfile(source):
            # A pipe would wait for ever.
            raise OSError('no plain file')
        with open(source, 'rb') as stream:
            head = stream.read(12)
        file = source  # type: ignore[assignment]
    if head[:4] in _TIFF:
        return _read_tiff_header(file)
    if head[4:8] == b'ftyp':
        _register_heif()
    with Image.open(file) as image:
        return ImageHeader(
            str(image.format),
            image.width,
            image.height,
            _bits(image),
            len(image.getbands()),
            image.has_transparency_data,
            _valid(image.getexif().get(_ORIENTATION)),
        )


@cache
def _register_heif() -> None:
    """Let Pillow read HEIC where its plugin is installed."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()


def _bits(image: ImageFile.ImageFile) -> int:
    """Bits a channel in the file, which Pillow's modes do not tell."""
    arguments = image.tile[0].args if image.tile else ''
    is_16 = ';16' in f'{image.mode} {arguments}'
    if image.format == 'PPM' and isinstance(arguments, tuple):
        # The last one is the highest value.
        is_16 = isinstance(arguments[-1], int) and arguments[-1] > 255
    if is_16:
        return 16
    return {'1': 1, 'I': 32, 'F': 32}.get(image.mode, 8)


def _read_tiff_header(file: str | PathLike | io.BytesIO) -> ImageHeader:
    # Pillow does not know a TIFF of five channels at all.
    from tifffile import TiffFile, TiffFileError

    try:
        with TiffFile(file) as tiff:
            page = tiff.pages.first
            orientation = page.tags.valueof(_ORIENTATION)
            # Associated and unassociated alpha.
            alpha = any(int(sample) in (1, 2) for sample in page.extrasamples)
            header = ImageHeader(
                'TIFF',
                page.imagewidth,
                page.imagelength,
                int(page.bitspersample),
                page.samplesperpixel,
                alpha,
                _valid(orientation),
            )
    except (TiffFileError, IndexError, struct.error) as error:
        raise OSError(f'no readable TIFF ({error})') from error
    if header.width * header.height > MAX_PIXELS:
        raise Image.DecompressionBombError(
            f'{header.width} x {header.height} pixels'
        )
    return header


def _valid(orientation: object) -> int:
    """An orientation; 1 for the values that do not exist."""
    if isinstance(orientation, int) and 1 <= orientation <= 8:
        return int(orientation)
    return 1
