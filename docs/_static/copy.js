// A button at each block of code copies it.
addEventListener('DOMContentLoaded', () => {
  for (const block of document.querySelectorAll('.highlight > pre')) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'copy';
    button.textContent = 'Copy';
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(block.textContent.trimEnd());
        button.textContent = 'Copied';
      } catch {
        // A page that is no secure one may not write; the user can.
        getSelection().selectAllChildren(block);
        button.textContent = 'Press Ctrl+C';
      }
      setTimeout(() => { button.textContent = 'Copy'; }, 2000);
    });
    block.parentElement.append(button);
  }
});
