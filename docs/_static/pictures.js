// A picture opens in full size; on a phone the columns of a panel stack.
const TILE = 232, EDGE = 8, BAR = 62, HEADER = 30;

// The columns of a panel as the project draws them, else none.
function columnsOf(image) {
  if (!/(panel|students)\w*\.png$/.test(image.src)) return 0;
  for (const bar of [BAR, 0]) {
    const columns = (image.naturalWidth - EDGE - bar) / TILE;
    if (Number.isInteger(columns)) return columns;
  }
  return 0;
}

function stack(image, columns) {
  const width = image.naturalWidth;
  const rows = Math.floor((image.naturalHeight - HEADER) / TILE);
  const box = document.createElement('div');
  box.className = 'pieces';
  box.setAttribute('role', 'img');
  box.setAttribute('aria-label', image.alt);
  for (let column = 0; column < columns; column++) {
    const left = column ? EDGE / 2 + column * TILE : 0;
    const right = column < columns - 1 ? EDGE / 2 + (column + 1) * TILE : width;
    const piece = document.createElement('i');
    piece.style.flexBasis = `${99.9 * (right - left) / (2 * TILE + EDGE)}%`;
    piece.style.aspectRatio = `${right - left} / ${HEADER + rows * TILE}`;
    piece.style.background = `url("${image.src}") ` +
      `${100 * left / (width - right + left)}% 0 / ` +
      `${100 * width / (right - left)}% auto no-repeat`;
    box.append(piece);
  }
  image.classList.add('whole');
  image.after(box);
}

addEventListener('load', () => {
  for (const image of document.querySelectorAll('.content img')) {
    image.addEventListener('click', () => { location.href = image.src; });
    const columns = columnsOf(image);
    if (columns > 1) stack(image, columns);
  }
});
